"""The quantizers and initialisers that a recipe can name: a new one is a row here, a file in ``quantizers/``, a test.

A row says what a recipe must know of it. Its code is named, as ``module:name``, and loaded by ``qrecipe.quantizers``
when a model is compiled: reading a recipe needs no torch. The schema takes its names from here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..vocabulary import OperandKind
from .names import Offset, Scale

Offsets = Mapping[OperandKind, tuple[Offset, ...]]


@dataclass(frozen=True)
class QuantizerRow:
    """One quantizer.

    code: its class, as ``module:name``.
    trained: whether training moves its range; else that stays as calibrated.
    scales: the kinds of scale that it may have, first the one where a recipe gives none.
    offsets: for each operand that it quantizes, the offsets that it may have, first the one where a recipe gives none.
    """

    code: str
    trained: bool
    offsets: Offsets
    scales: tuple[Scale, ...] = ("real",)


SYMMETRIC: Offsets = {
    "weight": ("none",),
    "activation": ("none",),
    "attention": ("none",),
}
#: Weights are symmetric unless a recipe says otherwise.
AFFINE: Offsets = {
    "weight": ("none", "integer", "real"),
    "activation": ("integer", "none", "real"),
    "attention": ("integer", "none", "real"),
}

#: A whole zero point, at the end of the range or in its middle.
UNSIGNED_OR_SYMMETRIC: Offsets = {"activation": ("integer",), "attention": ("integer",)}
WEIGHTS_ALONE: Offsets = {"weight": ("none",)}

ANY_SCALE: tuple[Scale, ...] = ("real", "power_of_two")

QUANTIZERS: dict[str, QuantizerRow] = {
    "lsq": QuantizerRow("qrecipe.quantizers.lsq:LSQ", trained=True, offsets=SYMMETRIC, scales=ANY_SCALE),
    "lsq+": QuantizerRow("qrecipe.quantizers.lsq_plus:LSQPlus", trained=True, offsets=AFFINE, scales=ANY_SCALE),
    "minmax": QuantizerRow("qrecipe.quantizers.minmax:MinMax", trained=False, offsets=AFFINE, scales=ANY_SCALE),
    "mse": QuantizerRow("qrecipe.quantizers.mse:LeastSquares", trained=False, offsets=AFFINE, scales=ANY_SCALE),
    "pact": QuantizerRow("qrecipe.quantizers.pact:PACT", trained=True, offsets=UNSIGNED_OR_SYMMETRIC),
    "dorefa": QuantizerRow("qrecipe.quantizers.dorefa:DoReFa", trained=False, offsets=WEIGHTS_ALONE),
}

#: Where first ranges come from: functions of what calibration saw, as ``module:name``.
INITIALISERS: dict[str, str] = {
    "lsq": "qrecipe.quantizers.calibration.ranges:lsq",
    "lsq+": "qrecipe.quantizers.calibration.ranges:lsq_plus",
    "minmax": "qrecipe.quantizers.calibration.ranges:minmax",
    "mse": "qrecipe.quantizers.calibration.ranges:mse",
    "output": "qrecipe.quantizers.calibration.output:output",
    "percentile": "qrecipe.quantizers.calibration.ranges:percentile",
}

#: Those of them that look at what a weight multiplies.
WATCHES_INPUTS = frozenset({"output"})


def default_offset(operand: OperandKind, quantizer: str) -> Offset:
    """The offset that an operand's quantizer has where the recipe gives none."""
    return QUANTIZERS[quantizer].offsets[operand][0]


def quantizers_of(operand: OperandKind, offset: Offset | None = None) -> list[str]:
    """The quantizers that take an operand, with a certain offset or with any."""
    allowed = {name: row.offsets.get(operand, ()) for name, row in QUANTIZERS.items()}
    return [name for name, offsets in allowed.items() if (offset in offsets if offset else offsets)]
