"""A student to an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import ExportError
from ..run.files import require_free, write_atomically
from ..runtimes import DEFAULT, Runtime, find_runtime, need
from ..student import Student
from .kernels import Kernels
from .lower import Lowered, lower
from .metadata import KEY, metadata_of
from .mode import ExportFormat, ExportMode
from .parity import Parity
from .traced import Fixed, Open, Size

EXAMPLE = 128
"""Height and width of the example that is traced where the input leaves them open."""

FLOATS = "onnxruntime"
"""The target whose files hold weights in float where it computes with them in float, unless another one is asked."""


@dataclass(frozen=True)
class Exported:
    """weights, activations: how many operands the file holds in integers. size: bytes. lowered: what was translated.

    floats: weights that it holds in float, as the runtime that the recipe names computes with them in float.
    kernels: which of its products the runtime computes in integers; None where it was not asked.
    parity: the file beside its student; None where they were not compared.
    """

    path: Path
    mode: ExportMode
    weights: int
    activations: int
    size: int
    lowered: Lowered
    floats: int = 0
    kernels: Kernels | None = None
    parity: Parity | None = None

    @property
    def held(self) -> str:
        """What it holds in integers, and what in float though it is quantized."""
        text = f"{self.weights} weights and {self.activations} activations in integers"
        if self.floats:
            text += f", {self.floats} weights in float, whose convolutions {FLOATS} computes in float"
        return text

    def to_dict(self) -> dict[str, Any]:
        names = ("mode", "weights", "floats", "activations", "size")
        parts = {"kernels": self.kernels, "parity": self.parity}
        more = {name: part and part.to_dict() for name, part in parts.items()}
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}, **more}


def export_student(
    student: Student,
    path: Path | str,
    mode: ExportMode = "integer",
    *,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
    runtime: str = DEFAULT,
    to: ExportFormat = "onnx",
) -> Exported:
    """Write a calibrated student as an ONNX file: images in, logits and boxes out. The student is left as it is.

    Args:
        batch, height, width: fix them; None leaves them open.
        runtime: which one the file is for, and is asked what it computes in integers where it is installed.
        to: ``onnx``; or ``pt2``, a program of torch.export, which torch runs in float (``mode`` plays no part).

    Raises:
        ExportError: no such runtime; an operator or operand that the file cannot express; ``qrecipe[onnx]`` is absent.
        RunError: the file is there already, or cannot be written. CalibrationError: a quantizer without a range.
    """
    if to == "onnx":
        need("onnx", "onnxscript")
    path, asked = Path(path), find_runtime(runtime)
    require_free(path, "choose another --out")
    if not student.quantizers:
        raise ExportError("nothing in this student is quantized", remedy="export a student with a quantize section")
    if any(parameter.dtype == torch.float64 for parameter in student.parameters()):
        raise ExportError("this student computes in float64, and files in float32", remedy="student.float() first")
    lowered = lower(student)
    known = student.input.size or (EXAMPLE, EXAMPLE)
    example = (batch or 2, height or known[0], width or known[1])
    dynamic = (batch is None, height is None, width is None)

    def describe(fixed: Fixed) -> str:
        return metadata_of(student, mode, fixed).text()

    if to == "onnx":
        own = student.recipe.target == FLOATS == asked.name
        data, floats = _onnx(lowered, example, dynamic, mode, own, describe)
    else:
        from .program import to_program

        data, floats = to_program(lowered, example, dynamic, describe), 0
    write_atomically(path, data)
    weights = sum(operand.weight is not None for operand in lowered.operands.values())
    kernels = _kernels(data, asked) if to == "onnx" else None
    activations = len(lowered.operands) - weights
    return Exported(path, mode, weights - floats, activations, len(data), lowered, floats, kernels)


def _onnx(
    lowered: Lowered, example: Size, dynamic: Open, mode: ExportMode, floats: bool, describe: Callable[[Fixed], str]
) -> tuple[bytes, int]:
    """The file, and how many of its weights are floats: where ``floats`` allows them, none in a packed file."""
    from .float_weights import put_floats
    from .integers import put_integers
    from .pools import quantize_before_pools
    from .prune import prune
    from .repeated import store_once
    from .translate import fixed_sizes, translate

    model = translate(lowered, example, dynamic)
    put_integers(model, lowered.operands, mode)
    quantize_before_pools(model)
    stored = put_floats(model) if floats and mode == "integer" else 0
    prune(model)
    store_once(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, describe(fixed_sizes(model))
    return bytes(model.SerializeToString()), stored


def _kernels(data: bytes, runtime: Runtime) -> Kernels | None:
    """None where the runtime is not installed: a file can be written without it."""
    import onnx

    from .products import count_kernels

    try:
        runtime.version()
    except ExportError:
        return None
    return count_kernels(onnx.load_from_string(data), runtime, runtime.open(data).operators())
