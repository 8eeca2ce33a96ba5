"""ONNX Runtime on the CPU."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..plain_text import one_line
from .given_out import with_outputs
from .needs import need
from .runtime import Array, Operator, Session

INTEGER = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    }
)
"""Operators that multiply integers. ``MatMulNBits`` is none: it turns its weights to float."""

ADDED = re.compile(r"_token_\d+$|/\w+Fusion/?$|_nchwc$")
"""What its rewrites put behind the name of a node that they replace."""

SILENT = 4


@dataclass(frozen=True)
class OnnxRuntime:
    name: str = "onnxruntime"
    extra: str = "onnx"

    def version(self) -> str:
        need("onnxruntime", extra=self.extra)
        import onnxruntime

        return str(onnxruntime.__version__)

    def open(
        self,
        file: Path | bytes,
        *,
        extra: Sequence[str] = (),
        threads: int | None = None,
        rewrites: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> Session:
        """``settings``: attributes of its SessionOptions, and ``disabled_optimizers``, rewrites to leave out."""
        need("onnx", "onnxruntime", extra=self.extra)
        given = with_outputs(file, extra) if extra else file
        return _Session(given, self._options(threads, rewrites, dict(settings or {})), settings)

    def _options(self, threads: int | None, rewrites: bool, settings: dict[str, Any]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = threads or 0
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if rewrites else levels.ORT_DISABLE_ALL
        settings.pop("disabled_optimizers", None)
        for name, value in settings.items():
            setattr(options, name, value)
        return options


class _Session:
    """The graph that it runs is written to a file where that is asked for: a second session, opened for that alone."""

    def __init__(self, file: Path | bytes, options: Any, settings: Mapping[str, Any] | None) -> None:
        self._file, self._options = file, options
        self._disabled = list((settings or {}).get("disabled_optimizers", ()))
        self._session = self._opened()
        self._outputs = [one.name for one in self._session.get_outputs()]

    def _opened(self) -> Any:
        import onnxruntime

        file = self._file if isinstance(self._file, bytes) else str(self._file)
        try:
            return onnxruntime.InferenceSession(
                file, self._options, providers=["CPUExecutionProvider"], disabled_optimizers=self._disabled
            )
        except Exception as error:  # its own classes share no root
            where = None if isinstance(self._file, bytes) else str(self._file)
            raise ExportError(f"ONNX Runtime does not read this file: {one_line(error)}", where=where) from error

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        try:
            found = self._session.run(self._outputs, dict(arrays))
        except Exception as error:
            raise ExportError(f"ONNX Runtime fails: {one_line(error)}") from error
        return dict(zip(self._outputs, found, strict=True))

    def operators(self) -> tuple[Operator, ...]:
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            self._options.optimized_model_filepath = str(path)
            try:
                self._opened()
            finally:
                self._options.optimized_model_filepath = ""
            nodes = onnx.load(str(path), load_external_data=False).graph.node
        return tuple(Operator(node.op_type, (ADDED.sub("", node.name),), node.op_type in INTEGER) for node in nodes)
