"""A run folder: everything one ``apply`` leaves behind, and what it needs to go on after a kill.

recipe.json, recipe.yaml   the resolved recipe: as data, to compare with; as text, to read
plan.json                  the plan
environment.json           a list: one entry per start
inputs.json                the annotations, images and weights that it was started with, to compare with
phases.json                the finished phases and their results
metrics.jsonl              one line per epoch
trackers.json              by which key each experiment tracker knows the run, where it is told to any
checkpoints/PHASE/         ``last`` and ``best``
calibrated/, student/, control/   the models that it keeps
matches/ROW.npz            what each row of the summary found, image by image
detections.png             the last model's detections on the split that the summary is of
evidence/                  what the page shows of a few images, of quantizers and of queries
exports.json, bench.json   what `export` and `bench` of its student found
report.html                the same and what is seen so far, as a page; written anew after every epoch
summary.json               written last: a run that has it is finished

``recipe.json``, ``inputs.json``, ``phases.json`` and ``summary.json`` carry a seal, and are refused where they are
not what was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..recipe.definition import dotted
from ..recipe.differences import by_place, differing
from .environment import describe_environment
from .files import DAMAGED, read_json, write_atomically, write_json, writing
from .free_keys import comparable
from .layout import (
    CHECKPOINTS,
    ENVIRONMENT,
    INPUTS,
    MATCHES,
    METRICS,
    PHASES,
    PLAN,
    RECIPE,
    RECIPE_TEXT,
    SUMMARY,
    is_finished,
    is_run,
)
from .lines import JsonLines
from .lock import LOCK, RunLock
from .seal import read_sealed, write_sealed
from .summary import Summary

_OWN = {LOCK, f".{RECIPE}.tmp"}  # all that a kill during `create` can leave before recipe.json stands


class RunFolder:
    """Use :meth:`create`, :meth:`resume`, :meth:`read` or :meth:`follow`. The first two hold the folder's lock until
    :meth:`close`."""

    def __init__(self, path: Path, lock: RunLock | None, follows: bool = False) -> None:
        self.path = path
        self.metrics = JsonLines(path / METRICS, follows)
        self._lock = lock
        self._follows = follows

    @classmethod
    def create(cls, path: Path, *, recipe: Mapping[str, Any], text: str) -> RunFolder:
        """Start a run in a new or empty folder.

        Args:
            recipe: the resolved recipe as plain data. text: the same as YAML.

        Raises:
            RunError: something is there already, or the folder cannot be written.
        """
        cls.check_free(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        run = cls(path, RunLock(path))
        with ExitStack() as on_failure:
            on_failure.callback(run.close)
            if is_run(path):  # another process was faster, and is through already
                raise RunError("another process made a run here just now", where=str(path))
            write_sealed(path / RECIPE, recipe)
            run._started(text)
            on_failure.pop_all()
        return run

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Raises: RunError: a run cannot start here, as something is there already or writes it. Nothing is made."""
        RunLock.check(path)
        with writing(path):
            taken = {entry.name for entry in path.iterdir()} - _OWN if path.exists() else set()
        if RECIPE in taken:
            raise RunError(
                "an unfinished run is there, and nothing of it is overwritten",
                where=str(path),
                remedy="continue it with --resume, or choose another --output",
            )
        if taken:
            raise RunError(
                "the output folder is not empty, and nothing in it is overwritten",
                where=str(path),
                remedy="choose another --output",
            )

    @classmethod
    def check_resumable(cls, path: Path, recipe: Mapping[str, Any]) -> None:
        """Raises: RunError: there is no run here, it is one of another recipe, or another process writes it. Nothing is
        written."""
        RunLock.check(path)
        if not is_run(path):
            raise RunError("there is no run to resume", where=str(path), remedy="start it without --resume")
        cls(path, None).check_recipe(recipe)

    @classmethod
    def resume(cls, path: Path, *, recipe: Mapping[str, Any], text: str) -> RunFolder:
        """Continue a run, with the recipe that it was started with but for what ``comparable`` leaves out.

        Raises:
            RunError: there is no run, another process writes it, or the recipe differs (all differing keys are listed).
        """
        cls.check_resumable(path, recipe)
        run = cls(path, RunLock(path))
        with ExitStack() as on_failure:
            on_failure.callback(run.close)
            run._started(text)
            on_failure.pop_all()
        return run

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Look into a run without writing. Raises: RunError: there is none."""
        if not is_run(path):
            raise RunError("this is no run folder: recipe.json is missing", where=str(path))
        return cls(path, None)

    @classmethod
    def follow(cls, path: Path) -> RunFolder:
        """The run that the first of several processes writes: what the others write into it is nothing."""
        return cls(path, None, follows=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe, as plain data."""
        return read_sealed(self.path / RECIPE, bare=self._is_bare())

    def _is_bare(self) -> bool:
        """Whether the run was begun by a version that sealed nothing: its first start does not say otherwise."""
        starts = self.path / ENVIRONMENT
        return starts.exists() and "sealed" not in self.starts()[0]

    def check_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Hold a resolved recipe against the run's own. What its results do not depend on may differ: ``comparable``.

        Raises:
            RunError: other keys differ; all of them are listed.
        """
        differing = differences(*comparable(self.recipe(), _plain(recipe)))
        if differing:
            raise RunError(
                "the recipe is not the one that this run was started with:\n  " + "\n  ".join(differing),
                where=str(self.path),
                remedy="undo these changes, or choose another --output",
            )

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        if not self._follows:
            write_json(self.path / PLAN, plan)

    def inputs(self) -> dict[str, Any] | None:
        """The data and weights that the run was started with; None of a run of a version that did not keep them."""
        return read_sealed(self.path / INPUTS) if (self.path / INPUTS).exists() else None

    def write_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Keep them, in place of those that were accepted for others."""
        write_sealed(self.path / INPUTS, inputs)

    def checkpoints(self, phase: str) -> Path:
        """The folder of a training phase's checkpoints; not made here."""
        return self.path / CHECKPOINTS / phase

    def phases(self) -> dict[str, Any]:
        """Results of the finished phases, by name, in the order they finished."""
        path = self.path / PHASES
        if not path.exists():
            return {}
        return read_sealed(path, bare=self._is_bare())

    def finish_phase(self, name: str, result: Any) -> Any:
        """Record a finished phase; returns the result as JSON gives it back, as a resumed run would see it."""
        result = _plain(result)
        if not self._follows:
            write_sealed(self.path / PHASES, {**self.phases(), name: result})
        return result

    def phase(self, name: str, work: Callable[[], Any]) -> Any:
        """The recorded result of a phase, or else that of ``work``, which is recorded. Results are plain data."""
        done = self.phases()
        return done[name] if name in done else self.finish_phase(name, work())

    def write_matches(self, row: str, data: bytes) -> None:
        """Keep what a row of the summary found in each image. Raises: RunError: it cannot be written."""
        folder = self.path / MATCHES
        with writing(folder):
            folder.mkdir(exist_ok=True)
        write_atomically(folder / f"{row}.npz", data)

    def finish(self, summary: Summary) -> None:
        """Write the summary: the run is finished."""
        if not self._follows:
            write_sealed(self.path / SUMMARY, summary.to_dict())

    @property
    def is_finished(self) -> bool:
        return is_finished(self.path)

    def summary(self) -> Summary:
        """Raises: RunError: the run is unfinished."""
        if not self.is_finished:
            raise RunError("this run is not finished", where=str(self.path), remedy="continue it with --resume")
        return Summary.from_dict(read_sealed(self.path / SUMMARY, bare=self._is_bare()))

    def starts(self) -> list[dict[str, Any]]:
        """What each start of this run ran on, in their order. Raises: RunError: the file is damaged."""
        starts = read_json(self.path / ENVIRONMENT)
        if not isinstance(starts, list) or not starts or not all(isinstance(one, dict) for one in starts):
            raise RunError("this is no list of starts", where=str(self.path / ENVIRONMENT), remedy=DAMAGED)
        return starts

    def _started(self, text: str) -> None:
        if not (self.path / RECIPE_TEXT).exists():
            write_atomically(self.path / RECIPE_TEXT, text.encode())
        starts = self.path / ENVIRONMENT
        earlier = self.starts() if starts.exists() else []
        write_json(starts, [*earlier, {**describe_environment(), "sealed": True}])


def differences(old: Any, new: Any) -> list[str]:
    """One line per key that differs between two pieces of plain data, by its dotted path, in the old one's order."""
    lines = []
    for found in differing(old, new, by_place):
        path = found.at_a if found.at_a is not None else found.at_b
        assert path is not None
        before = "absent" if found.at_a is None else _short(found.a)
        after = "absent" if found.at_b is None else _short(found.b)
        lines.append(f"{dotted(path)}: {before} in the run, {after} now")
    return lines


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 3] + "..."
