"""From a lowered graph to an ONNX graph in which quantized operands are still marks, by torch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import onnx
import onnxscript
import torch

from ..errors import ExportError
from ..plain_text import one_line
from .integers import DOMAIN, MARK
from .lower import Lowered
from .traced import PLACES, Fixed, Open, Size, fixed_by, traced

OPSET = 21
"""The first that has integers of 4 bits."""

NAMES = ("batch", "height", "width")


def translate(lowered: Lowered, size: Size, dynamic: Open) -> onnx.ModelProto:
    """Translate.

    Args:
        size: batch, height, width of the example that is traced, and of what is fixed.
        dynamic: which of them stay open.

    Raises:
        ExportError: the graph has an operator that ONNX cannot express, or depends on an input's size in such a way.
    """
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = traced(lowered.module, size, dynamic)
            fixed = fixed_by(program)
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=["pixel_values"],
                output_names=["logits", "boxes"],
                custom_translation_table={torch.ops.qrecipe.operand.default: _mark()},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch's ONNX exporter does not translate this student: {_reason(error)}") from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
    assert made is not None
    model = made.model_proto
    assert isinstance(model, onnx.ModelProto)
    _name_dimensions(model, fixed)
    return model


def fixed_sizes(model: onnx.ModelProto) -> Fixed:
    """What batch, height and width of a file's images are fixed to."""
    shape = model.graph.input[0].type.tensor_type.shape.dim
    batch, height, width = (shape[place].dim_value if shape[place].HasField("dim_value") else None for place in PLACES)
    return batch, height, width


def _name_dimensions(model: onnx.ModelProto, fixed: Fixed) -> None:
    """What stays open is called batch, height and width; torch calls it s77. It also leaves fixed ones open."""
    shape = model.graph.input[0].type.tensor_type.shape.dim
    own = {shape[place].dim_param: (name, value) for place, name, value in zip(PLACES, NAMES, fixed, strict=True)}
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param and dimension.dim_param in own:
                name, number = own[dimension.dim_param]
                if number is None:
                    dimension.dim_param = name
                else:
                    dimension.dim_value = number


def _mark() -> Any:
    """Translates ``qrecipe::operand`` to a node of our own domain."""
    schema = onnx.defs.OpSchema
    own = schema(
        MARK,
        DOMAIN,
        1,
        inputs=[schema.FormalParameter("value", "T")],
        outputs=[schema.FormalParameter("marked", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[schema.Attribute("site", schema.AttrType.STRING, "")],
    )
    call = onnxscript.values.Op(onnxscript.values.Opset(DOMAIN, 1), MARK, own)

    def translated(value: Any, site: str) -> Any:
        return call(value, site=site)

    return translated


def _reason(error: BaseException) -> str:
    """The innermost reason, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)
