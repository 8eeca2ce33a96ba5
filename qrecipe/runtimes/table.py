"""The runtimes that there are: a new one is its file and a row here."""

from __future__ import annotations

from ..errors import ExportError
from ..suggestions import did_you_mean
from .onnx_runtime import OnnxRuntime
from .openvino_cpu import OpenVino
from .runtime import Runtime

RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in (OnnxRuntime(), OpenVino())}
DEFAULT = "onnxruntime"


def find_runtime(name: str = DEFAULT) -> Runtime:
    """Raises: ExportError: no runtime has this name."""
    if name not in RUNTIMES:
        remedy = did_you_mean(name, RUNTIMES) or f"there are {', '.join(RUNTIMES)}"
        raise ExportError(f"there is no runtime {name!r}", remedy=remedy)
    return RUNTIMES[name]
