"""The real-valued network of a student as an ONNX file: what its integers are compared with."""

from __future__ import annotations

import copy
from pathlib import Path

from ..run.files import write_atomically
from ..runtimes import need
from ..student import Student
from .lower import Lowered, lower


def export_float(student: Student, path: Path, *, batch: int, height: int, width: int) -> Lowered:
    """Write a student without quantizers and alignments, BatchNorm folded, at one size.

    Raises:
        ExportError: an operator that the file cannot express, or ``qrecipe[onnx]`` is not installed.
    """
    need("onnx", "onnxscript")
    from .integers import put_integers
    from .translate import translate

    own = copy.deepcopy(student)
    own.switch_off()
    lowered = lower(own)
    model = translate(lowered, (batch, height, width), (False, False, False))
    put_integers(model, lowered.operands, "integer")
    write_atomically(path, model.SerializeToString())
    return lowered
