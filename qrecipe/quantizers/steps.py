"""How training moves a quantizer's parameters: with which learning rate, and in which coordinates.

Adam divides a gradient by its own size. LSQ's factor on a scale's gradient is thus without effect, and one learning
rate moves a scale of 0.001 by more than half in a step and a scale of 1 not at all: measured, weight scales of a few
thousandths changed 2^12-fold and crossed zero in 150 steps at 6e-4. An offset in the tensor's units has a second
trouble: the zero point is offset / scale, so a scale that moves by a tenth shifts a 4-bit zero point of 7 by most of a
level, which then jumps to and fro, however small the steps.

So a learning rate of r moves a scale by the share r of itself, which keeps it positive, and the offset with it, so that
the zero point stays; and it moves the zero point by the share r of one level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Rate = Literal["quantizer", "model"]
"""Learning rates by what a recipe calls them: ``train.optimizer.lr_quantizer``, and ``train.optimizer.lr``."""


class Step(ABC):
    """Some parameters of one quantizer that an optimizer moves together. None of them is decayed.

    :func:`step_in_coordinates` calls :meth:`before` and :meth:`after` around the optimizer's step.

    Attributes:
        parameters: all of them require gradients.
        rate: which learning rate they step with.
    """

    parameters: tuple[nn.Parameter, ...]
    rate: Rate

    @abstractmethod
    def before(self) -> None:
        """Turn the gradients into those of the coordinates, by the chain rule, and keep where the step starts."""

    @abstractmethod
    def after(self) -> None:
        """Turn what the step has changed, a change of the coordinates, into one of the parameters."""

    @abstractmethod
    def average(self, averages: Sequence[Tensor], share: float) -> None:
        """Move averages of the parameters, in their order, this share of the way to them, in the coordinates."""


@final
class PlainStep(Step):
    """Parameters that step as they are."""

    def __init__(self, *parameters: nn.Parameter, rate: Rate = "quantizer") -> None:
        self.parameters = parameters
        self.rate = rate

    def before(self) -> None:
        """Nothing is turned."""

    def after(self) -> None:
        """Nothing is turned."""

    @torch.no_grad()
    def average(self, averages: Sequence[Tensor], share: float) -> None:
        for average, parameter in zip(averages, self.parameters, strict=True):
            average.lerp_(parameter.detach(), share)


@final
class RelativeStep(Step):
    """A scale and its offset step in (log scale, offset / scale).

    A zero point without a gradient stays, and its offset follows the scale.

    Args:
        scale: (size,), not 0.
        offset: (size,) in the tensor's units, or None.
    """

    def __init__(self, scale: nn.Parameter, offset: nn.Parameter | None = None, rate: Rate = "quantizer") -> None:
        self.parameters = (scale,) if offset is None else (scale, offset)
        self.rate = rate
        self._scale, self._offset = scale, offset
        self._alone = _RelativeSteps([self])

    def before(self) -> None:
        self._alone.before()

    def after(self) -> None:
        self._alone.after()

    @torch.no_grad()
    def average(self, averages: Sequence[Tensor], share: float) -> None:
        """A geometric mean of scales, and a mean of zero points. A scale of another sign is taken as it is."""
        scale, old = self._scale.detach(), averages[0].clone()
        ratio = scale / old
        averages[0].copy_(torch.where(ratio > 0, old * ratio.abs() ** share, scale))
        if self._offset is not None:
            zero = torch.lerp(averages[1] / old, self._offset.detach() / scale, share)
            averages[1].copy_(zero * averages[0])


class _RelativeSteps:
    """Many a :class:`RelativeStep` at once, with the same results to the last bit: hundreds of tiny tensors add up."""

    def __init__(self, steps: Sequence[RelativeStep]) -> None:
        self._scales: list[Tensor] = [step.parameters[0] for step in steps]
        places = [index for index, step in enumerate(steps) if len(step.parameters) == 2]
        self._shifted: list[Tensor] = [steps[index].parameters[0] for index in places]
        self._offsets: list[Tensor] = [steps[index].parameters[1] for index in places]
        self._places = places
        self._before: tuple[list[Tensor], list[Tensor]] = [], []

    @torch.no_grad()
    def before(self) -> None:
        self._before = [scale.clone() for scale in self._scales], [offset.clone() for offset in self._offsets]
        pairs = zip(self._shifted, self._offsets, strict=True)
        both = [(s, o, s.grad, o.grad) for s, o in pairs if s.grad is not None and o.grad is not None]
        if both:
            scales, offsets, to_scales, to_offsets = (list(part) for part in zip(*both, strict=True))
            turned = torch._foreach_mul(to_offsets, offsets)
            torch._foreach_div_(turned, scales)
            torch._foreach_add_(to_scales, turned)

    @torch.no_grad()
    def after(self) -> None:
        old_scales, old_offsets = self._before
        moved = torch._foreach_sub(self._scales, old_scales)
        torch._foreach_mul_(moved, torch._foreach_abs(old_scales))
        torch._foreach_copy_(self._scales, torch._foreach_add(old_scales, moved))
        if self._offsets:
            points = torch._foreach_div(old_offsets, [old_scales[index] for index in self._places])
            torch._foreach_add_(points, torch._foreach_sub(self._offsets, old_offsets))
            torch._foreach_mul_(points, self._shifted)
            torch._foreach_copy_(self._offsets, points)


def step_in_coordinates(optimizer: Optimizer, steps: Sequence[Step]) -> None:
    """From now on ``optimizer`` moves the parameters of ``steps`` in their coordinates."""

    relative = [step for step in steps if isinstance(step, RelativeStep)]
    together: list[_RelativeSteps | Step] = [step for step in steps if not isinstance(step, RelativeStep)]
    if relative:
        together.append(_RelativeSteps(relative))

    def before(*_: Any) -> None:
        for step in together:
            step.before()

    def after(*_: Any) -> None:
        for step in together:
            step.after()

    if steps:
        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)
