"""Fake quantizers: LSQ, LSQ+ and their simpler relatives, per tensor, channel or head, with 2 to 8 bits.

A new quantizer is a file here with a class of :class:`Quantizer`, and a row of ``QUANTIZERS``; a new way to find first
ranges is a function and a row of ``INITIALISERS``. Both tables are in :mod:`qrecipe.recipe.quantizer_table`.
"""

from __future__ import annotations

from ..errors import RecipeError
from ..named_code import load
from ..recipe.definition import QuantizerSpec
from ..recipe.quantizer_table import INITIALISERS, QUANTIZERS
from .base import Mode, QuantizedOperand, Quantizer
from .calibration.observer import Observed
from .correction import BiasCorrection
from .encoding import Encoding
from .kernels.grid import Grid
from .recompute import Reading
from .steps import PlainStep, RelativeStep, Step, step_in_coordinates

__all__ = [
    "INITIALISERS",
    "QUANTIZERS",
    "BiasCorrection",
    "Encoding",
    "Grid",
    "Mode",
    "Observed",
    "PlainStep",
    "QuantizedOperand",
    "Quantizer",
    "Reading",
    "RelativeStep",
    "Step",
    "build",
    "quantizer_class",
    "step_in_coordinates",
]


def quantizer_class(name: str) -> type[Quantizer]:
    """The class of a row of ``QUANTIZERS``."""
    found: type[Quantizer] = load(QUANTIZERS[name].code)
    return found


def build(spec: QuantizerSpec, operand: QuantizedOperand) -> Quantizer:
    """A quantizer for one site, ``off`` and without ranges.

    Raises: RecipeError for bits or a quantizer that do not exist, or scales that this one cannot have.
    """
    if spec.quantizer not in QUANTIZERS:
        raise RecipeError(
            f'there is no quantizer "{spec.quantizer}"',
            where=operand.name,
            remedy=f"take one of {', '.join(QUANTIZERS)}",
        )
    if spec.scale not in QUANTIZERS[spec.quantizer].scales:
        able = ", ".join(name for name, row in QUANTIZERS.items() if spec.scale in row.scales)
        raise RecipeError(
            f"{spec.quantizer} has no scale: {spec.scale}", where=operand.name, remedy=f"take one of {able}"
        )
    return quantizer_class(spec.quantizer)(spec, operand)
