"""What the loop asks of the things it is given, and what it tells those that watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from .optimizer import ParameterGroup


class Trainable(Protocol):
    """A module that turns a batch into a loss. It holds the student, and perhaps a frozen teacher."""

    @property
    def student(self) -> nn.Module:
        """What is trained and checkpointed."""

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts, detached."""

    def set_stage(self, quantize: tuple[str, ...] | None) -> None:
        """From now on quantize these roles only; None: all."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def to(self, device: torch.device) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...


class Loader(Protocol):
    """Batches of one epoch, the same ones whenever it is that epoch."""

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Scores(Protocol):
    """An evaluation: ``to_dict()["AP"]`` chooses the best epoch; None where there is nothing to find."""

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Progress:
    """Where training stands, after an optimizer step.

    epoch, step: from 1. steps: in an epoch. lr: of the first group. parts: of this batch's loss.
    seconds_left: an estimate, evaluations included.
    """

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
class Watcher:
    """Whom the loop calls: before the first step with the parameter groups, after each step, and with each epoch's
    record (the line of ``metrics.jsonl``)."""

    on_start: Callable[[tuple[ParameterGroup, ...]], None] | None = None
    on_progress: Callable[[Progress], None] | None = None
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None
