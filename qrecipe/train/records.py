"""Where a training is kept, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..run.layout import METRICS
from ..run.lines import JsonLines
from .optimizer import ParameterGroup


@dataclass(frozen=True)
class Records:
    """Where a training is kept.

    folder: for the checkpoints ``last`` (all that training needs) and ``best`` (weights only). phase: what it is
    called. lines: gets a line per epoch, marked with ``phase``; ``metrics.jsonl`` in ``folder`` by default.
    extra: plain data for the manifests, the recipe for one.
    """

    folder: Path
    phase: str = "train"
    lines: JsonLines | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> JsonLines:
        return self.lines or JsonLines(self.folder / METRICS)


@dataclass(frozen=True)
class FitResult:
    """What training came to.

    best_epoch, best_ap: from 1, and its AP; None where nothing could be compared. history: the records of all epochs.
    groups: what the optimizer trained. checkpoint: the best one, or the last where nothing could be compared; None
    where there were no epochs.
    """

    best_epoch: int | None
    best_ap: float | None
    history: tuple[Mapping[str, Any], ...]
    groups: tuple[ParameterGroup, ...]
    checkpoint: Path | None
