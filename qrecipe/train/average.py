"""An exponential moving average of a student while it is trained: weights, scales, zero points, running statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..quantizers import Quantizer, Step
from ..recipe.definition import EmaSpec
from ..run.checkpoint import Checkpoint
from ..termination import held


class Average:
    """What a student's parameters that are trained, and its floating-point buffers, were on average.

    After step t, from 1, an average goes ``1 - decay * (1 - exp(-t / warmup))`` of the way to the student's value; so
    it follows closely at first. Scales go it in their logarithm and offsets in units of their scale, which are the
    coordinates that they are trained in: between two scales there are no others' zero points. Whole numbers, such as a
    count of batches, are the student's.

    Attributes:
        values: by name in the student's state_dict, on the student's device.
    """

    def __init__(self, student: nn.Module, spec: EmaSpec) -> None:
        kept = student.state_dict(keep_vars=True)
        trained = {name: p for name, p in student.named_parameters() if p.requires_grad}
        running = {name: b for name, b in student.named_buffers() if name in kept and b.is_floating_point()}
        self.spec = spec
        self._followed: dict[str, Tensor] = {**trained, **running}
        self.values = {name: value.detach().clone() for name, value in self._followed.items()}
        self._steps = _steps_of(student, {id(value): name for name, value in trained.items()})
        stepped = {name for _, names in self._steps for name in names}
        self._plain = [name for name in self._followed if name not in stepped]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the student after a step, counted from 1."""
        warm = 1 - math.exp(-step / self.spec.warmup) if self.spec.warmup else 1.0
        share = 1 - self.spec.decay * warm
        for name in self._plain:
            self.values[name].lerp_(self._followed[name].detach(), share)
        for step_of, names in self._steps:
            step_of.average([self.values[name] for name in names], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it is entered, the student has the averages."""
        own = {name: value.detach().clone() for name, value in self._followed.items()}
        try:
            with held():
                put(self._followed, self.values)
            yield
        finally:
            with held():
                put(self._followed, own)

    def begin_anew(self, part: str) -> None:
        """Take the student's values for averages, of the parameters and buffers below one of its modules."""
        put(self.values, {name: value for name, value in self._followed.items() if name.startswith(f"{part}.")})

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Take over the averages of an earlier start."""
        for name, value in self.values.items():
            value.copy_(values[name])


def take_average(student: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a student the averages that a checkpoint to go on from has, where it has some."""
    values = (checkpoint.training or {}).get("average")
    if values is not None:
        put(dict(student.state_dict(keep_vars=True)), values)


@torch.no_grad()
def put(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Write values into tensors of the same names."""
    for name, value in values.items():
        if not torch.equal(into[name], value.to(into[name].device)):  # a constant may be expanded, and not written into
            into[name].copy_(value)


def _steps_of(student: nn.Module, names: Mapping[int, str]) -> list[tuple[Step, list[str]]]:
    steps = [step for part in student.modules() if isinstance(part, Quantizer) for step in part.steps()]
    found = [(step, [names.get(id(value)) for value in step.parameters]) for step in steps]
    return [(step, [name for name in own if name]) for step, own in found if all(own)]
