"""Finished runs as they lie on the disk, for comparing them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..evaluation.matches import ImageMatches
from ..recipe.dump import one_line
from ..run.folder import RunFolder
from ..run.layout import MATCHES, is_finished, is_run
from ..run.summary import Summary, SummaryRow
from .results import last_row

OF_EACH_RUN = ("name", "output", "seed")
"""Keys in which runs of one recipe may differ."""


@dataclass(frozen=True)
class FinishedRun:
    """recipe: resolved. row: what it is judged by. curve: (epoch, val AP) of training."""

    folder: Path
    recipe: Mapping[str, Any]
    summary: Summary
    row: SummaryRow
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.folder.name))

    @property
    def AP(self) -> float | None:  # noqa: N802 - COCO's name
        return self.row.scores.get("AP")

    @cached_property
    def substance(self) -> dict[str, Any]:
        """The recipe without what runs of one recipe may differ in."""
        return {key: value for key, value in self.recipe.items() if key not in OF_EACH_RUN}

    @cached_property
    def data(self) -> str:
        """What its scores are of, in words: runs with the same words can be compared."""
        data, split = self.recipe.get("data", {}), self.summary.split
        limit = f", the first {data['limit']}" if data.get("limit") is not None else ""
        if data.get("format", "synthetic") != "coco":
            own = data.get("synthetic", {})
            made = {key: own.get(key) for key in (split, "size", "seed")}
            return f"{split} split of the synthetic set {one_line(made)}{limit}"
        inputs = (RunFolder.read(self.folder).inputs() or {}).get("data", {}).get(split, {})
        annotations = data.get(split, {}).get("annotations", "?")
        known = f"sha256 {inputs['annotations'][:12]}" if "annotations" in inputs else str(annotations)
        return f"{split} split of {Path(annotations).name} ({known}){limit}"

    def matches(self) -> ImageMatches:
        """Raises: EvaluateError: the run kept none, or they are damaged."""
        return ImageMatches.read(self.folder / MATCHES / f"{self.row.model}.npz")


def read_runs(paths: Sequence[Path], model: str | None = None) -> tuple[list[FinishedRun], list[str]]:
    """Runs, and what is to be said of those that are left out.

    Args:
        paths: run folders, or folders of sweeps: all runs in them that are finished, in the order of their starts.
        model: the row of the summary to judge by; by default the last that the run has.

    Raises:
        RunError: a path is neither, a run that is named is not finished, or it has no such row.
    """
    runs: list[FinishedRun] = []
    notes: list[str] = []
    for path in paths:
        if is_run(path):
            runs.append(_read(path, model))
            continue
        found = _runs_in(path)
        if not found:
            what = "this is no run folder, and holds none" if path.is_dir() else "there is no such folder"
            raise RunError(what, where=str(path))
        done = [folder for folder in found if is_finished(folder)]
        runs += [_read(folder, model) for folder in done]
        if len(done) < len(found):
            count = len(found) - len(done)
            notes.append(f"{path}: {count} run{'s are' if count > 1 else ' is'} not finished, and left out")
    unique: dict[tuple[str, int], FinishedRun] = {}
    for run in runs:
        key = (json.dumps(run.substance, sort_keys=True), run.seed)
        same = unique.setdefault(key, run)
        if same is not run and same.folder.resolve() != run.folder.resolve():
            notes.append(f"{run.folder}: the same recipe and seed as {same.folder}, and left out")
    return list(unique.values()), notes


def _read(folder: Path, model: str | None) -> FinishedRun:
    run = RunFolder.read(folder)
    summary = run.summary()
    row = last_row(summary) if model is None else summary.row(model)
    if row is None:
        there = ", ".join(row.model for row in summary.rows)
        raise RunError(f"the run has no {model} model", where=str(folder), remedy=f"it has {there}")
    return FinishedRun(folder, run.recipe(), summary, row, tuple(_curve(run)))


def _curve(run: RunFolder) -> Iterator[tuple[int, float]]:
    for record in run.metrics.read():
        if record["phase"] == "student" and record.get("val") and record["val"].get("AP") is not None:
            yield record["epoch"], record["val"]["AP"]


def _runs_in(folder: Path) -> list[Path]:
    """The runs that lie in a folder, in the order in which they began."""
    return sorted(
        _children(folder), key=lambda run: (str(RunFolder.read(run).starts()[0].get("started", "")), run.name)
    )


def _children(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (child for child in folder.iterdir() if child.is_dir() and is_run(child))
