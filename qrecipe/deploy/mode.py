"""The two ways in which integers are stored."""

from __future__ import annotations

from typing import Literal, get_args

ExportMode = Literal["integer", "packed"]
"""``integer``: every quantized operand in 8 bits, so that runtimes use their integer kernels. ``packed``: weights of 4
bits and fewer in 4 bits, for size; today's runtimes compute with them in float."""

ExportFormat = Literal["onnx", "pt2"]

EXPORT_MODES: tuple[ExportMode, ...] = get_args(ExportMode)
