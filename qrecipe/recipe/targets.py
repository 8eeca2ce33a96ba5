"""What a runtime that a recipe names as its ``target`` needs of quantizers, to compute with them in integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..vocabulary import OperandKind
from .names import Offset, Target

HEADS = "products of attention with scales of each head run in float there"
SYMMETRIC = "TensorRT's integers are symmetric, with zero point 0"


@dataclass(frozen=True)
class Needs:
    """per, offset: what an operand may have, by its kind; one that is left out may have anything. bits: the fewest.

    reasons: why, by key and operand, for the user.
    """

    per: Mapping[OperandKind, tuple[str, ...]] = field(default_factory=dict)
    offset: Mapping[OperandKind, tuple[Offset, ...]] = field(default_factory=dict)
    bits: Mapping[OperandKind, int] = field(default_factory=dict)
    reasons: Mapping[tuple[str, OperandKind], str] = field(default_factory=dict)


WHOLE: dict[OperandKind, tuple[Offset, ...]] = {
    "weight": ("none", "integer"),
    "activation": ("none", "integer"),
    "attention": ("none", "integer"),
}
"""Offsets that are whole numbers of steps."""

REAL = "a runtime's integers need a whole zero point"

TARGETS: dict[Target, Needs] = {
    # Measured, docs/deploy.md. An activation's zero point is at the edge of its range behind a ReLU, which an even grid
    # around 0 has not: then the convolution in front runs in float.
    "onnxruntime": Needs(
        per={"attention": ("tensor",)},
        offset={**WHOLE, "activation": ("integer",)},
        reasons={
            ("per", "attention"): HEADS,
            ("offset", "activation"): "ONNX Runtime takes a ReLU into a convolution only where the zero point is at "
            "the edge of the range",
        },
    ),
    "openvino": Needs(per={"attention": ("tensor",)}, offset=WHOLE, reasons={("per", "attention"): HEADS}),
    # Untested. NVIDIA TensorRT documentation, Working with Quantized Types, Explicit Quantization (10.11 and later):
    # symmetric INT8 for weights and activations, INT4 for weights alone.
    "tensorrt": Needs(
        per={"attention": ("tensor",)},
        offset={"weight": ("none",), "activation": ("none",), "attention": ("none",)},
        bits={"activation": 8, "attention": 8},
        reasons={
            ("per", "attention"): "TensorRT's activations have one scale",
            **{("offset", operand): SYMMETRIC for operand in WHOLE},
            ("bits", "activation"): "TensorRT's activations have 8 bits",
            ("bits", "attention"): "TensorRT's activations have 8 bits",
        },
    ),
}
