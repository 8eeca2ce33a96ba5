"""Quantizers of a small operand, calibrated or not."""

from __future__ import annotations

from torch import Tensor

from qrecipe.quantizers import QuantizedOperand, Quantizer, build
from qrecipe.quantizers.affine import AffineQuantizer
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.recipe.names import Offset


def activation(
    quantizer: str = "lsq+", bits: int = 4, offset: Offset = "integer", heads: int = 0, init: str | None = None
) -> AffineQuantizer:
    spec = QuantizerSpec(bits, quantizer, "head" if heads else "tensor", offset, init)
    axis, shape = (1, (None, heads, None, None)) if heads else (None, (None, None, None))
    return affine(spec, QuantizedOperand("decoder.attention:query", shape, axis, max(heads, 1), False, batched=True))


def weight(quantizer: str = "lsq", bits: int = 4, channels: int = 6) -> AffineQuantizer:
    operand = QuantizedOperand("fc1:weight", (channels, 3, 5, 5), 0, channels, is_weight=True, batched=False)
    return affine(QuantizerSpec(bits, quantizer, "channel"), operand)


def affine(spec: QuantizerSpec, operand: QuantizedOperand) -> AffineQuantizer:
    quantizer = build(spec, operand)
    assert isinstance(quantizer, AffineQuantizer)
    return quantizer


def calibrate(quantizer: AffineQuantizer, *batches: Tensor) -> AffineQuantizer:
    quantizer.set_mode("observe")
    for batch in batches:
        assert quantizer(batch) is batch
    quantizer.finish_calibration()
    quantizer.set_mode("on")
    return quantizer


def ready(name: str, bits: int, offset: Offset, x: Tensor) -> Quantizer:
    """Any kind of quantizer of an activation, calibrated on x."""
    operand = QuantizedOperand("site", (None,) * x.dim(), None, 1, is_weight=False, batched=True)
    quantizer = build(QuantizerSpec(bits, name, "tensor", offset), operand)
    quantizer.observe(x)
    quantizer.finish_calibration()
    quantizer.set_mode("on")
    return quantizer
