"""What follows a student from step to step beside its optimizer: its weights' average, and their oscillations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, final

from torch import nn

from ..processes import take_over
from ..recipe.definition import TrainSpec
from ..vocabulary import FAKE_QUANTIZERS
from .average import Average
from .freezing import Oscillations


@final
class Followers:
    """average, oscillations: None where the recipe does not ask for them."""

    def __init__(self, student: nn.Module, spec: TrainSpec) -> None:
        frozen = spec.freeze_oscillating
        self.student = student
        self.average = None if spec.ema is None else Average(student, spec.ema)
        self.oscillations = None if frozen is None else Oscillations(student, frozen)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around the steps of an epoch."""
        with self.oscillations.watching() if self.oscillations is not None else nullcontext():
            yield

    def update(self, step: int, over: float) -> None:
        """Behind an optimizer step, counted from 1. over: the share of training that is over, 0..1."""
        if self.oscillations is not None:
            self.oscillations.update(over)
        if self.average is not None:
            self.average.update(step)

    @contextmanager
    def scored(self) -> Iterator[None]:
        """While it is entered, the student has the weights that are scored: their average, where there is one."""
        with self.average.applied() if self.average is not None else nullcontext():
            yield

    def begin_ranges_anew(self) -> None:
        """Ranges were calibrated for other bits: they have no past to be averaged with, nor have the integers."""
        if self.average is not None:
            self.average.begin_anew(FAKE_QUANTIZERS)
        if self.oscillations is not None:
            self.oscillations.values.clear()

    def take_over_statistics(self) -> None:
        """Running statistics are of each process's own images; the first one's are scored and kept, as DDP has it."""
        take_over(list(self.student.buffers()))
        if self.average is not None:
            take_over(list(self.average.values.values()))
        if self.oscillations is not None:
            self.oscillations.take_over()

    def figures(self) -> dict[str, float]:
        """What an epoch's record says of them: ``frozen``, the share of quantized weights that is."""
        return {} if self.oscillations is None else {"frozen": self.oscillations.share()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "average": None if self.average is None else dict(self.average.values),
            "oscillations": None if self.oscillations is None else self.oscillations.values,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        if self.average is not None:
            self.average.restore(state["average"])
        if self.oscillations is not None:
            self.oscillations.restore(state["oscillations"])
