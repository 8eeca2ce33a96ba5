"""The names that a recipe may give, as literal tuples: what the tables of other rooms must hold, and nothing else."""

from __future__ import annotations

from typing import Literal

from ..vocabulary import OperandKind

Scale = Literal["real", "power_of_two"]
Target = Literal["onnxruntime", "openvino", "tensorrt"]
Offset = Literal["none", "integer", "real"]

VERSION = 1

#: What may share a scale, per operand.
GRANULARITIES: dict[OperandKind, tuple[str, ...]] = {
    "weight": ("tensor", "channel"),
    "activation": ("tensor",),
    "attention": ("tensor", "head"),
}
