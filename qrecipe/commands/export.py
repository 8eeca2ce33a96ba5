"""``qrecipe export``: a run's student as a file that other runtimes read."""

from __future__ import annotations

from pathlib import Path

from ..deploy import Exported, ExportMode, export_student
from ..errors import ExportError
from ..experiment.target import find_target
from ..run.files import require_free
from ..run.layout import Which
from ..student.store import load


def export(
    target: Path | str,
    output: Path | str = "student.onnx",
    mode: ExportMode = "integer",
    *,
    model: Which | None = None,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Exported:
    """Write a run's student as an ONNX file: images in, logits and boxes out.

    Args:
        target: a run folder or a student's folder.
        output: a new file.
        mode: ``integer``, 8 bits for every quantized operand; ``packed``, weights of 4 bits and fewer in 4 bits.
        model: of a run ``trained`` (default), ``control`` or ``calibrated``.
        batch, height, width: fix them; None leaves them open.

    Raises:
        QRecipeError: there is no such student, it cannot be exported, or the file cannot be written.
    """
    require_free(Path(output), "choose another --out")
    found = find_target(target, model, data=False)
    if found.student is None:
        raise ExportError(
            "there is no student here to export", where=str(target), remedy="name a run folder or a student's folder"
        )
    student = load(found.student)
    return export_student(student, output, mode, batch=batch, height=height, width=width)
