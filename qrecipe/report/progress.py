"""What training shows while it runs: a live display in a terminal, lines now and then elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from ..experiment.events import BatchScored, Event, Listener
from ..train.events import EpochEnded, StepTaken, TrainingStarted
from .amounts import three_places
from .tables import group_table

EVERY = 30.0
"""Seconds between two lines within an epoch, where there is no terminal."""
PARTS = 5


@contextmanager
def training_display(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Listener]:
    """A listener that shows how trainings move on, one after another.

    It prints the parameter groups first. From then on a terminal has bars, which are gone once a training is through
    or fails; anything else gets a line every 30 seconds.
    """
    display: _Live | _Lines = _Live(console) if console.is_terminal else _Lines(console, clock)

    def listen(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            console.print(group_table(event.groups))
            display.start(event.epochs)
        elif isinstance(event, StepTaken):
            display.step(event)
        elif isinstance(event, EpochEnded) and event.record["epoch"] >= event.epochs:
            display.stop()

    try:
        yield listen
    finally:
        display.stop()


@contextmanager
def counter(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Listener]:
    """A listener that counts the batches of evaluations: a bar in a terminal, else a line every 30 seconds."""
    if not console.is_terminal:
        last = clock()

        def say(event: Event) -> None:
            nonlocal last
            if isinstance(event, BatchScored) and clock() - last >= EVERY:
                last = clock()
                text = f"{event.split}: batches: {event.done} of {event.total}"
                console.print(text, highlight=False, markup=False, soft_wrap=True)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def move(event: Event) -> None:
            if isinstance(event, BatchScored):
                if event.split not in tasks:
                    tasks[event.split] = bars.add_task(escape(f"{event.split}: batches"), total=None)
                bars.update(tasks[event.split], completed=event.done, total=event.total)

        yield move


class _Live:
    """Two bars: epochs of the training, steps of the epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None

    def start(self, epochs: int) -> None:
        self.stop()
        # The text takes what the bars leave, and is cut where that is not enough.
        text = TextColumn("{task.fields[text]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=6))
        count = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7))
        self._bars = Bars(name, BarColumn(16), count, text, console=self._console, transient=True, expand=True)
        self._all = self._bars.add_task("epochs", total=epochs, text="")
        self._one = self._bars.add_task("steps", total=None, text="")
        self._bars.start()

    def step(self, progress: StepTaken) -> None:
        if self._bars is None:
            return
        done = progress.epoch - 1 + progress.step / progress.steps
        left = f"{escape(progress.stage)}, {duration(progress.seconds_left)} left, lr {progress.lr:.3g}"
        self._bars.update(self._all, completed=int(done), total=progress.epochs, text=left)
        text = f"loss {progress.loss:.4g}{escape(parts_text(progress.parts))}"
        self._bars.update(self._one, completed=progress.step, total=progress.steps, text=text)

    def stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class _Lines:
    """A line at the first step, and then one every EVERY seconds."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock = console, clock
        self._next = 0.0

    def start(self, epochs: int) -> None:
        self._next = self._clock()

    def step(self, progress: StepTaken) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + EVERY
            self._console.print(step_line(progress), highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        self._next = 0.0


def step_line(progress: StepTaken) -> str:
    """One step as one line."""
    return (
        f"{progress.stage}: epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}: "
        f"loss {progress.loss:.4g}{parts_text(progress.parts)}, lr {progress.lr:.3g}, "
        f"{duration(progress.seconds_left)} left"
    )


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """One epoch as one line, from its record in ``metrics.jsonl``."""
    scores = record["val"]
    val = ""
    if scores is not None:
        val = ", val " + ", ".join(f"{name} {three_places(scores[name])}" for name in ("AP", "AP50") if name in scores)
    seconds = duration(record["seconds"] + record["seconds_evaluation"])
    return (
        f"{record['phase']}: epoch {record['epoch']}/{epochs} ({record['stage']}): loss {record['loss']:.4g}"
        f"{parts_text(record['parts'])}{val}{', the best so far' if record['best'] else ''}, {seconds}"
    )


def parts_text(parts: Mapping[str, float | None]) -> str:
    """The first few parts in brackets; those of single layers (``loss_ce_0``, ``aux_...``) are left out."""
    whole = [name for name in parts if not re.search(r"_\d+$|aux", name)]
    text = _listed(whole[:PARTS], parts)
    return f" ({text})" if text else ""


def _listed(names: Sequence[str], parts: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name in names if (value := parts[name]) is not None)


def duration(seconds: float) -> str:
    """``5 s``, ``12 min 5 s``, ``3 h 20 min``."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"
