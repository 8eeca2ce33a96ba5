"""Steps of scales and offsets in coordinates that mean the same for every quantizer.

Adam divides a gradient by its own size. LSQ's factor on a scale's gradient is thus without effect, and one learning
rate moves a scale of 0.001 by more than half in a step and a scale of 1 not at all: measured, weight scales of a few
thousandths changed 2^12-fold and crossed zero in 150 steps at 6e-4. An offset in the tensor's units has a second
trouble: the zero point is offset / scale, so a scale that moves by a tenth shifts a 4-bit zero point of 7 by most of a
level, which then jumps to and fro, however small the steps.

So a learning rate of r moves a scale by the share r of itself, which keeps it positive, and the offset with it, so that
the zero point stays; and it moves the zero point by the share r of one level.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def make_relative(optimizer: Optimizer, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
    """From now on, ``optimizer`` steps in (log scale, offset / scale) instead of (scale, offset).

    The gradients are turned by the chain rule before each step, and the updates back after it. A zero
    point without a gradient stays, and its offset follows the scale.

    Args:
        named_parameters: ``....scale`` and ``....offset`` of quantizers, (size,) each, with every offset's scale.
    """
    given = dict(named_parameters)
    pairs = [
        (scale, given.get(f"{name.removesuffix('.scale')}.offset"))
        for name, scale in given.items()
        if name.endswith(".scale")
    ]
    before: list[tuple[Tensor, Tensor | None]] = []

    @torch.no_grad()
    def turn_gradients(*_: Any) -> None:
        before[:] = [
            (scale.detach().clone(), None if offset is None else offset.detach().clone()) for scale, offset in pairs
        ]
        for scale, offset in pairs:
            if offset is not None and scale.grad is not None and offset.grad is not None:
                scale.grad += offset.grad * offset / scale

    @torch.no_grad()
    def turn_updates(*_: Any) -> None:
        for (scale, offset), (old_scale, old_offset) in zip(pairs, before, strict=True):
            scale.copy_(old_scale + (scale - old_scale) * old_scale.abs())
            if offset is not None and old_offset is not None:
                offset.copy_((old_offset / old_scale + (offset - old_offset)) * scale)

    if pairs:
        optimizer.register_step_pre_hook(turn_gradients)
        optimizer.register_step_post_hook(turn_updates)
