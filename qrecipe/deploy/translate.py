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
from .integers import DOMAIN, MARK
from .lower import Lowered

OPSET = 21
"""The first that has integers of 4 bits."""

LONGEST = 300
"""Characters of an exporter's reason that are shown."""


def translate(lowered: Lowered, size: tuple[int, int, int], dynamic: tuple[bool, bool, bool]) -> onnx.ModelProto:
    """Translate.

    Args:
        size: batch, height, width of the example that is traced, and of what is fixed.
        dynamic: which of them stay open.

    Raises:
        ExportError: the graph has an operator that ONNX cannot express, or depends on an input's size in such a way.
    """
    pixels = torch.zeros(max(size[0], 2) if dynamic[0] else size[0], 3, *size[1:])
    open_ = {place: torch.export.Dim.AUTO for place, own in zip((0, 2, 3), dynamic, strict=True) if own}
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(lowered.module, (pixels,), dynamic_shapes=(open_,), strict=False)
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
    _name_dimensions(model)
    return model


def _name_dimensions(model: onnx.ModelProto) -> None:
    """What stays open is called batch, height and width; torch calls it s77."""
    places = model.graph.input[0].type.tensor_type.shape.dim
    names = {
        places[place].dim_param: name
        for place, name in ((0, "batch"), (2, "height"), (3, "width"))
        if places[place].HasField("dim_param")
    }
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in names:
                dimension.dim_param = names[dimension.dim_param]


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
    return " ".join(str(error).split())[:LONGEST]
