"""OpenVINO on the CPU."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..plain_text import one_line
from .given_out import with_outputs
from .needs import need
from .runtime import Array, Operator, Session

PRODUCTS = frozenset(
    {
        "Convolution",
        "Deconvolution",
        "FullyConnected",
        "FullyConnectedQuantized",
        "FullyConnectedQuantizedLegacy",
        "MatMul",
    }
)
INTEGERS = frozenset({"i8", "u8", "i4", "u4"})
"""Its names for operators that multiply, and for the types in which these then do it in integers."""
ADDED = re.compile(r"/(Dequantization\w+|WithoutBiases|transpose_[ab])$")
"""What its rewrites put behind the name of a node that they replace."""
UNSEEN = frozenset({"Const", "Input", "Output"})
"""Nodes of its graph that compute nothing."""


@dataclass(frozen=True)
class OpenVino:
    name: str = "openvino"
    extra: str = "openvino"

    def version(self) -> str:
        need("openvino", extra=self.extra)
        import openvino

        return str(openvino.__version__).partition("-")[0]

    def open(
        self,
        file: Path | bytes,
        *,
        extra: Sequence[str] = (),
        threads: int | None = None,
        rewrites: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> Session:
        """``settings``: its properties, such as ``INFERENCE_PRECISION_HINT``: f32 here unless told, though its own
        default is bf16 where the processor has that. It always rewrites a graph: ``rewrites`` changes nothing."""
        need("openvino", extra=self.extra)
        if extra:
            need("onnx")
        given = with_outputs(file, extra) if extra else file
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        return _Session(given, options | dict(settings or {}))


class _Session:
    def __init__(self, file: Path | bytes, options: dict[str, Any]) -> None:
        import openvino

        where = None if isinstance(file, bytes) else str(file)
        if where is not None and not Path(where).is_file():
            raise ExportError("there is no such file", where=where)
        try:
            core = openvino.Core()
            read = core.read_model(file, b"") if isinstance(file, bytes) else core.read_model(where)
            self._compiled = core.compile_model(read, "CPU", options)
        except Exception as error:  # RuntimeErrors of its own
            raise ExportError(f"OpenVINO does not read this file: {one_line(error)}", where=where) from error
        self._outputs = [one.get_any_name() for one in self._compiled.outputs]

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        try:
            found = self._compiled(dict(arrays))
            return {name: np.array(found[place]) for place, name in enumerate(self._outputs)}
        except Exception as error:
            raise ExportError(f"OpenVINO fails: {one_line(error)}") from error

    def operators(self) -> tuple[Operator, ...]:
        """``names`` holds what it fused behind a product too, and names of its own."""
        found = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            said = node.get_rt_info()
            kind, kept, names = (
                said[key].astype(str) for key in ("layerType", "runtimePrecision", "originalLayersNames")
            )
            if kind not in UNSEEN:
                held = tuple(dict.fromkeys(ADDED.sub("", name) for name in names.split(",") if name))
                found.append(Operator(kind, held, kind in PRODUCTS and kept in INTEGERS))
        return tuple(found)
