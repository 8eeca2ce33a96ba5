"""The names that a recipe may give, as literal tuples: what the tables of other rooms must hold, and nothing else."""

from __future__ import annotations

from typing import Literal

from ..vocabulary import OperandKind

Offset = Literal["none", "integer", "real"]

VERSION = 1
QUANTIZERS = ("lsq", "lsq+", "minmax", "mse")
INITIALISERS = ("lsq", "lsq+", "minmax", "mse")
LOSSES = ("l2",)
SCHEDULES = ("constant", "step", "cosine", "one_cycle")

MATCHERS = ("foreground", "all")

#: Quantizers with a zero point; LSQ is symmetric.
OFFSET_QUANTIZERS = ("lsq+", "minmax", "mse")

#: What may share a scale, per operand.
GRANULARITIES: dict[OperandKind, tuple[str, ...]] = {
    "weight": ("tensor", "channel"),
    "activation": ("tensor",),
    "attention": ("tensor", "head"),
}


def default_offset(operand: OperandKind, quantizer: str) -> Offset:
    """The offset that an operand's quantizer has where the recipe gives none: weights and LSQ are symmetric."""
    return "integer" if operand != "weight" and quantizer in OFFSET_QUANTIZERS else "none"
