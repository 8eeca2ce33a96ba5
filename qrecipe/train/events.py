"""What a training tells whoever listens: it prints nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .optimizer import ParameterGroup


@dataclass(frozen=True)
class TrainingStarted:
    """Before the first step. phase: what is trained. finished: epochs of an earlier start. steps: in an epoch.

    notes: what is odd about what the earlier start left.
    """

    phase: str
    epochs: int
    finished: int
    steps: int
    groups: tuple[ParameterGroup, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepTaken:
    """After an optimizer step.

    epoch, step: from 1. steps: in an epoch. lr: of the first group. parts: of this batch's loss.
    seconds_left: an estimate, evaluations included.
    """

    phase: str
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    parts: Mapping[str, float]
    lr: float
    seconds_left: float


@dataclass(frozen=True)
class EpochEnded:
    """After an epoch, when its checkpoints are written. record: its line in ``metrics.jsonl``."""

    record: Mapping[str, Any]
    epochs: int


TrainingEvent = TrainingStarted | StepTaken | EpochEnded
TrainingListener = Callable[[TrainingEvent], None]


def nobody(event: object) -> None:
    """A listener that does nothing."""
