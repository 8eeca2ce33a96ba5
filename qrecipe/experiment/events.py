"""What an experiment tells whoever listens: a terminal, a tracker, a notebook. It prints nothing itself.

A listener is any callable that takes an event. It is called in the order in which things happen, and what it raises
ends the experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation import Evaluation
from ..planning import Plan
from ..reconstruct import BlockReport
from ..run.summary import Summary
from ..student import CalibrationReport
from ..train.events import EpochEnded, StepTaken, TrainingStarted, nobody

__all__ = [
    "BatchScored",
    "BestChosen",
    "Calibrated",
    "CaptureEnded",
    "CaptureStarted",
    "DataRead",
    "EpochEnded",
    "Event",
    "Listener",
    "ModelBuilt",
    "Noted",
    "PartMeasured",
    "PhaseEnded",
    "PhaseStarted",
    "PictureDrawn",
    "Planned",
    "RunEnded",
    "RunStarted",
    "Scored",
    "StepTaken",
    "TrainingStarted",
    "nobody",
]


@dataclass(frozen=True)
class DataRead:
    """A split was read. notes: what was seen in it that is worth telling."""

    split: str
    images: int
    boxes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelBuilt:
    """part: ``model`` or ``teacher``. model: its class. notes: how it was built, and what its family leaves out."""

    part: str
    model: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptureStarted:
    """model: its class. It takes seconds for a small one, minutes for a large one."""

    model: str


@dataclass(frozen=True)
class CaptureEnded:
    """model: its class. warnings: in what the graphs may differ from it. notes: how they were come by, where they were
    not simply made."""

    model: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunStarted:
    """folder: where it is kept. recipe: the resolved one, as plain data. resumed: whether it was begun earlier."""

    folder: Path
    recipe: Mapping[str, Any]
    resumed: bool


@dataclass(frozen=True)
class PhaseStarted:
    """A row of ``PHASES`` begins. recorded: an earlier start is through with it, and its result is taken over."""

    name: str
    recorded: bool = False


@dataclass(frozen=True)
class PhaseEnded:
    """result: plain data, as ``phases.json`` has it; None of a phase that is not recorded there."""

    name: str
    result: Any = None


@dataclass(frozen=True)
class Planned:
    """What will be done to the model."""

    plan: Plan


@dataclass(frozen=True)
class Calibrated:
    """First ranges and alignments are found."""

    report: CalibrationReport


@dataclass(frozen=True)
class BlockReconstructed:
    """number: of the block, from 1. total: blocks."""

    report: BlockReport
    number: int
    total: int


@dataclass(frozen=True)
class PartMeasured:
    """A part was quantized alone. distance: to the real-valued model's predictions. number: from 1, of total."""

    part: str
    bits: int
    distance: float
    number: int
    total: int


@dataclass(frozen=True)
class BatchScored:
    """An evaluation moves on. done, total: batches."""

    split: str
    done: int
    total: int


@dataclass(frozen=True)
class Scored:
    """model: how the run calls it, such as ``student, calibrated``."""

    split: str
    model: str
    evaluation: Evaluation


@dataclass(frozen=True)
class BestChosen:
    """The weights of the best epoch, from 1, are in place. AP: on the validation split."""

    phase: str
    epoch: int
    epochs: int
    AP: float


@dataclass(frozen=True)
class PictureDrawn:
    """Detections beside their ground truth."""

    path: Path


@dataclass(frozen=True)
class RunEnded:
    """already: it was finished before, and is not repeated."""

    folder: Path
    summary: Summary
    already: bool = False


@dataclass(frozen=True)
class Noted:
    """Anything else that a user should know: a line of text about a topic, such as ``data``.

    progress: whether it only says how far the work is, so that nobody misses it who did not look.
    """

    topic: str
    text: str
    progress: bool = False


Event = (
    DataRead
    | ModelBuilt
    | CaptureStarted
    | CaptureEnded
    | RunStarted
    | PhaseStarted
    | PhaseEnded
    | Planned
    | Calibrated
    | BlockReconstructed
    | TrainingStarted
    | StepTaken
    | EpochEnded
    | PartMeasured
    | BatchScored
    | Scored
    | BestChosen
    | PictureDrawn
    | RunEnded
    | Noted
)
Listener = Callable[[Event], None]
