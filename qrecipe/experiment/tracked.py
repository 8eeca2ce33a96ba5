"""A listener that tells experiment trackers of a training's steps and epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ..plain_text import one_line
from ..run.files import read_json, write_json
from ..run.folder import RunFolder
from ..run.layout import TRACKERS
from ..train.trackers import Tracker, open_tracker
from .events import EpochEnded, Event, Listener, Noted, StepTaken, TrainingStarted

_ORDER = ("student", "control")
"""The trainings that trackers are told of. Reconstruction, of a length unknown here, is in ``metrics.jsonl`` alone."""


@contextmanager
def tracked(
    names: tuple[str, ...], run: RunFolder, recipe: Mapping[str, Any], listener: Listener
) -> Iterator[Listener]:
    """Inside, the listener that is given tells the trackers of a recipe too.

    They are opened with the first step. One that fails is told, left out, and ends no run.
    """
    own = _Tracked(names, run, recipe, listener)
    try:
        yield own.hear if names else listener
    finally:
        for tracker in own.open.values():
            with suppress(Exception):
                tracker.finish()


class _Tracked:
    """open: trackers by name; None before the first step, without those that have failed."""

    def __init__(self, names: tuple[str, ...], run: RunFolder, recipe: Mapping[str, Any], listener: Listener) -> None:
        self.names, self.run, self.recipe, self.listener = names, run, recipe, listener
        self.open: dict[str, Tracker] = {}
        self.started = False
        self.before = 0

    def hear(self, event: Event) -> None:
        self.listener(event)
        if _phase(event) not in _ORDER:
            return
        if isinstance(event, TrainingStarted):
            self.before = event.epochs * event.steps * _ORDER.index(event.phase)  # steps only ever grow
        elif isinstance(event, StepTaken):
            values = {"loss": event.loss, "lr": event.lr, **event.parts}
            self.tell(event.phase, "step", values, (event.epoch - 1) * event.steps + event.step)
        elif isinstance(event, EpochEnded):
            record = event.record
            values = {name: record[name] for name in ("loss", "grad_norm", "seconds", "seconds_evaluation")}
            values |= {f"val {name}": value for name, value in (record["val"] or {}).items() if name != "per_class"}
            self.tell(record["phase"], "epoch", values, record["step"])

    def tell(self, phase: str, kind: str, values: Mapping[str, Any], step: int) -> None:
        step += self.before
        if not self.started:
            self.start(step)
        told = {f"{phase} {kind}/{name}": value for name, value in values.items() if value is not None}
        for name, tracker in list(self.open.items()):
            self.attempt(name, partial(tracker.log, told, step))

    def start(self, step: int) -> None:
        self.started = True
        path = self.run.path / TRACKERS
        kept = dict(read_json(path)) if path.exists() else {}
        known = set(kept)
        for name in self.names:

            def begin(name: str = name) -> None:
                self.open[name] = open_tracker(name, self.run.path, step, kept)
                if name not in known:
                    self.open[name].store_init_configuration(dict(_flat(self.recipe)))

            self.attempt(name, begin)
        write_json(path, kept)

    def attempt(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as problem:  # of other people's services: a week of training does not end by it
            self.open.pop(name, None)
            self.listener(Noted("trackers", f"warning: {name} is told nothing more: {one_line(problem)}"))


def _phase(event: Event) -> str | None:
    """Of a training's event."""
    if isinstance(event, EpochEnded):
        return str(event.record["phase"])
    return event.phase if isinstance(event, TrainingStarted | StepTaken) else None


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Plain data as dotted keys and single values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str | int | float):
        yield path, value
    elif value is not None:
        yield path, str(value)
