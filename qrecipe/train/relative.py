"""Relative steps for scales and offsets.

Adam divides a gradient by its own size. LSQ's factor on a scale's gradient is thus without effect, and one learning rate
moves a scale of 0.001 by more than half in a step and a scale of 1 not at all: measured, weight scales of a few
thousandths changed 2^12-fold and crossed zero in 150 steps at 6e-4. So a learning rate of r moves a scale by the share r of
itself, which also keeps it positive, and an offset by that share of eight steps of its grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OFFSET_STEPS = 8
"""Half of a 4-bit grid."""


def make_relative(optimizer: Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
    """From now on, multiply ``optimizer``'s updates of quantizers' parameters by what those stand for.

    Args:
        named_parameters: ``....scale`` and ``....offset`` of quantizers, (size,) each; an offset's scale may be among
            them or not require gradients, but must be there.
    """
    given = dict(named_parameters)
    pairs = [
        (parameter, given[f"{name.rpartition('.')[0]}.scale"], OFFSET_STEPS if name.endswith(".offset") else 1)
        for name, parameter in given.items()
        if parameter.requires_grad
    ]
    before: list[Tensor] = []
    units: list[Tensor] = []

    def remember(*_: Any) -> None:
        before[:] = [parameter.detach().clone() for parameter, _, _ in pairs]
        units[:] = [scale.detach().abs() * factor for _, scale, factor in pairs]

    @torch.no_grad()
    def rescale(*_: Any) -> None:
        for (parameter, _, _), old, unit in zip(pairs, before, units, strict=True):
            parameter.copy_(old + (parameter - old) * unit)

    if pairs:
        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(rescale)
