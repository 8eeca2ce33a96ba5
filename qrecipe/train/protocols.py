"""What the loop asks of the things it is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..data.batch import Batch

Model_co = TypeVar("Model_co", bound=nn.Module, covariant=True)


class Trainable(Protocol[Model_co]):
    """A module that turns a batch into a loss. It holds the student, and perhaps a frozen teacher."""

    @property
    def student(self) -> Model_co:
        """What is trained and checkpointed."""

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its parts, detached."""

    def set_stage(self, quantize: tuple[str, ...] | None, bits: int | None = None) -> None:
        """From now on quantize these roles only, None: all; with no fewer bits than these. Ranges are there."""

    def change_bits(self, bits: int | None) -> None:
        """A stage with no fewer bits than these begins: find the ranges that it starts with."""

    def set_progress(self, over: float) -> None:
        """What share of training is over, before each step: 0 before the first."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def to(self, device: torch.device) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...


class Loader(Protocol):
    """Batches of one epoch, the same ones whenever it is that epoch."""

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Choose the epoch, from 1, and the number of the batch that it begins with, from 0."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Scores(Protocol):
    """An evaluation: ``to_dict()["AP"]`` chooses the best epoch; None where there is nothing to find."""

    def to_dict(self) -> dict[str, Any]: ...
