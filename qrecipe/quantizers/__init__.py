"""Fake quantizers: LSQ, LSQ+ and their simpler relatives, per tensor, channel or head, with 2 to 8 bits.

A new quantizer is a row of ``QUANTIZERS``; a new way to find first ranges is a row of ``INITIALISERS``.
"""

from __future__ import annotations

from ..recipe.definition import QuantizerSpec
from .base import FakeQuantizer, Mode
from .calibration.ranges import INITIALISERS
from .kernels.grid import Grid
from .kinds import QUANTIZERS, Kind

__all__ = ["INITIALISERS", "QUANTIZERS", "FakeQuantizer", "Grid", "Kind", "Mode", "build"]


def build(spec: QuantizerSpec, name: str, axis: int | None, size: int, is_weight: bool, batched: bool) -> FakeQuantizer:
    """A quantizer for one site, ``off`` and without ranges. Arguments as for :class:`FakeQuantizer`."""
    return FakeQuantizer(spec, name, axis, size, is_weight, batched)
