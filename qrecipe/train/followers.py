"""What follows a student from step to step beside its optimizer: its weights' average, and their oscillations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, final

from torch import Tensor, nn

from ..processes import take_over
from ..quantizers import Quantizer
from ..recipe.definition import TrainSpec
from ..vocabulary import FAKE_QUANTIZERS
from .average import Average, put
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

    def own_values(self) -> dict[str, Tensor]:
        """What running statistics of a process's own images lead to: each process's own until the epoch's end."""
        found = {f"buffer {name}": value for name, value in self.student.named_buffers()}
        if self.average is not None:
            found |= {f"average {name}": value for name, value in self.average.values.items()}
        if self.oscillations is not None:
            seen = self.oscillations.values.items()
            found |= {f"{key} of {name}": value for name, own in seen for key, value in own.items()}
        return found

    def take_over_statistics(self) -> None:
        """The first process's are scored and kept, as DDP has it."""
        take_over(list(self.own_values().values()))
        self._read_buffers()

    def restore_own(self, values: Mapping[str, Tensor]) -> None:
        """Go on from what this process had of its own, behind ``restore``."""
        put(self.own_values(), values)
        self._read_buffers()

    def _read_buffers(self) -> None:
        for module in self.student.modules():
            if isinstance(module, Quantizer):
                module.read_buffers()

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
