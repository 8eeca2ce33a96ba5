"""Where a training is kept, and what it came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..launched import is_first
from ..run.layout import METRICS
from ..run.lines import JsonLines
from .epoch import Averages
from .optimizer import ParameterGroup


@dataclass(frozen=True)
class Records:
    """Where a training is kept.

    folder: for the checkpoints ``last`` (all that training needs) and ``best`` (weights only). phase: what it is
    called. lines: gets a line per epoch, marked with ``phase``; ``metrics.jsonl`` in ``folder`` by default.
    extra: plain data for the manifests, the recipe for one. marks: what every line of the metrics has besides.
    """

    folder: Path
    phase: str = "train"
    lines: JsonLines | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    marks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> JsonLines:
        return self.lines or JsonLines(self.folder / METRICS, follows=not is_first())


@dataclass(frozen=True)
class FitResult:
    """What training came to.

    best_epoch, best_ap: from 1, and its AP; None where nothing could be compared. history: the records of all epochs.
    groups: what the optimizer trained. checkpoint: the best one, or the last where nothing could be compared; None
    where there were no epochs. epochs: how many were taken.
    """

    best_epoch: int | None
    best_ap: float | None
    history: tuple[Mapping[str, Any], ...]
    groups: tuple[ParameterGroup, ...]
    checkpoint: Path | None
    epochs: int


def epoch_record(
    averages: Averages,
    rates: Mapping[str, float],
    times: tuple[float, float, float],
    scores: Mapping[str, Any] | None,
    **others: Any,
) -> dict[str, Any]:
    """The line of an epoch. times: seconds on a clock, at which it began, was trained, was scored."""
    began, trained, scored = times
    return {
        **others,
        "loss": averages.loss,
        "parts": {name: value if math.isfinite(value) else None for name, value in averages.parts.items()},
        "lr": dict(rates),
        "grad_norm": averages.grad_norm,
        "seconds": round(trained - began, 3),
        "seconds_evaluation": round(scored - trained, 3),
        "val": scores,
    }


def epoch_of(line: Mapping[str, Any]) -> float:
    """A line's epoch; infinite where it has lost it, so that it is dropped."""
    epoch = line.get("epoch")
    return epoch if isinstance(epoch, int) else math.inf


def odd_lines(records: Records, history: Sequence[Mapping[str, Any]], finished: int) -> tuple[str, ...]:
    """What the reader of the metrics should know: epochs that are trained and have no line, or several."""
    own = [epoch_of(line) for line in history]
    odd = [str(epoch) for epoch in range(1, finished + 1) if own.count(epoch) != 1]
    if not odd:
        return ()
    some = ", ".join(odd[:10]) + (f" and {len(odd) - 10} more" if len(odd) > 10 else "")
    where = records.metrics.path
    return (f"{where} has lost or doubled the line of epoch {some}; the weights are those of epoch {finished}",)
