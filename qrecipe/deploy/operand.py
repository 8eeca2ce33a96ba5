"""A quantized operand as a file stores it: integers of a container, their own bounds, scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ExportError
from ..quantizers import Quantizer

CONTAINER = 128
"""Added to a grid's integers whose own shift would leave its zero point outside of uint8."""

RANK = 4
"""Dimensions of an activation that has a scale for each head: (batch, heads, tokens, channels)."""


@dataclass(frozen=True)
class StoredOperand:
    """x_hat = scale * (stored - zero_point), stored = integer of the grid + shift.

    axis: the dimension that has its own scales; None is one scale.
    scale: float32; zero_point: int64; (size,), or () for one scale.
    lo, hi: bounds of what is stored. A weight's container is int8; an activation's uint8, or int8 where lo < 0.
    weight: a weight's stored integers, int64; None for an activation.
    """

    site: str
    bits: int
    axis: int | None
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    lo: int
    hi: int
    shift: int
    weight: NDArray[np.int64] | None = None


def stored(
    quantizer: Quantizer, site: str, value: Tensor | None, *, transposed: bool = False, signed: bool = False
) -> StoredOperand:
    """What is stored for a quantizer's operand.

    Args:
        value: a weight as it reaches its quantizer, None for an activation.
        transposed: store a weight of two dimensions the other way round.
        signed: store an activation in int8, as its grid has it; else it is shifted into uint8.

    Raises:
        ExportError: its offset is no whole number of steps.
    """
    encoding = quantizer.encoding()
    if not encoding.integer:
        raise ExportError(
            "its offset is real, and a runtime's integers need a whole zero point",
            where=site,
            remedy="offset: integer (or none) in the recipe's quantizer, and train again",
        )
    scale = encoding.scale.detach().float().cpu().numpy()
    zero = encoding.zero_point.cpu().numpy().astype(np.int64)
    lo, hi, axis = encoding.grid.lo, encoding.grid.hi, encoding.axis
    if value is not None:
        integers = quantizer.integers(value).cpu().numpy().astype(np.int64)
        if transposed:
            integers, axis = np.ascontiguousarray(integers.T), None if axis is None else 1 - axis
        shift = 0
    else:
        integers = None
        own = bool(((zero - lo >= 0) & (zero - lo <= 255)).all())
        shift = 0 if signed else -lo if own else CONTAINER
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return StoredOperand(site, encoding.grid.bits, axis, scale, zero + shift, lo + shift, hi + shift, shift, integers)
