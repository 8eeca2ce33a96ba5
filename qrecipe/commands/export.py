"""``qrecipe export``: a run's student as a file that other runtimes read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..data.transforms import fitted_size
from ..deploy import TOLERANCE, Exported, ExportFormat, ExportMode, export_student, input_of_size, require_size
from ..errors import ExportError, QRecipeError
from ..experiment.compare_file import compare_file
from ..experiment.events import Listener, Noted, nobody
from ..experiment.target import find_target
from ..experiment.workspace import Workspace
from ..recipe.definition import Recipe
from ..run.deployed import keep_export
from ..run.files import require_free
from ..run.layout import Which, is_run
from ..runtimes import DEFAULT, RUNTIMES, find_runtime
from ..student import Student
from ..student.store import load
from .kept import kept_in_run


def export(
    target: Student | Path | str,
    output: Path | str = "student.onnx",
    mode: ExportMode = "integer",
    *,
    model: Which | None = None,
    batch: int | None = None,
    height: int | None = None,
    width: int | None = None,
    check: bool = True,
    split: str = "val",
    samples: int | None = None,
    tolerance: float = TOLERANCE,
    runtime: str | None = None,
    overrides: Sequence[str] = (),
    to: ExportFormat = "onnx",
    cache: bool = True,
    listener: Listener = nobody,
) -> Exported:
    """Write a run's student as an ONNX file, images in, logits and boxes out, and compare the file with the student.

    Args:
        target: a run folder, a student's folder, or a student.
        output: a new file.
        mode: ``integer``, 8 bits for every quantized operand; ``packed``, weights of 4 bits and fewer in 4 bits.
        model: of a run ``trained`` (default), ``control`` or ``calibrated``.
        batch, height, width: fix them; None leaves them open. Images of a file with both sides fixed are resized to
            them, in the comparison too.
        check: run both over ``split``, or its first ``samples`` images; ``parity.passed`` of what is returned says
            whether their AP differs by at most ``tolerance`` points (hundredths).
        runtime: the program that runs the file; None is the recipe's ``target`` where that is one, else ONNX Runtime.
        to: ``onnx``, or ``pt2``, a program of torch.export in float, which is compared with the student on one example.
        overrides: of the data, such as ``data.val.images=FOLDER``.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        QRecipeError: there is no such student, it cannot be exported, or the file cannot be written; the data or the
            runtime for the comparison is not there, which is said before anything is written.
    """
    require_free(Path(output), "choose another --out")
    check = check and to == "onnx"
    recipe, student = _asked(target, model, overrides)
    runtime = runtime or (recipe.target if recipe.target in RUNTIMES else None) or DEFAULT
    workspace = Workspace(recipe, (split,), listener, cache=cache)
    if check:
        _comparable(workspace, runtime, samples)
    own = student if isinstance(student, Student) else load(student, cache=cache)
    if check:
        _require_sizes(workspace, own, split, samples, (height, width))
    _tell_size(own, height, width, listener)
    made = export_student(own, output, mode, batch=batch, height=height, width=width, runtime=runtime, to=to)
    if not check:
        return made
    parity = compare_file(made, own, workspace, split, samples=samples, tolerance=tolerance, runtime=runtime)
    whole = replace(made, parity=parity)
    if not isinstance(target, Student) and is_run(Path(target)):
        kept_in_run(lambda: keep_export(Path(target), whole.to_dict()), listener)
    return whole


def _asked(
    target: Student | Path | str, model: Which | None, overrides: Sequence[str]
) -> tuple[Recipe, Student | Path]:
    """The recipe of a student, and the student or its folder."""
    if isinstance(target, Student):
        return target.recipe, target
    found = find_target(target, model, overrides, data=False)
    if found.student is None:
        raise ExportError(
            "there is no student here to export", where=str(target), remedy="name a run folder or a student's folder"
        )
    return found.recipe, found.student


def _tell_size(student: Student, height: int | None, width: int | None, listener: Listener) -> None:
    if input_of_size(student.input, height, width) != student.input:
        text = f"images for this file are resized to {height}x{width} (height x width), whatever their aspect"
        listener(Noted("export", text))


def _require_sizes(
    workspace: Workspace, student: Student, split: str, samples: int | None, fixed: tuple[int | None, int | None]
) -> None:
    """Raises: ExportError: the student knows no categories, or one side is fixed to what an image is not prepared to.

    Where both are fixed, images are prepared to them.
    """
    remedy = "--no-check writes it without comparing"
    if student.label_map is None:
        raise ExportError("the student knows no categories, so the file cannot be compared with it", remedy=remedy)
    if fixed.count(None) == 1:
        remedy = f"fix the other side too, and images are resized to both; {remedy}"
        for record in islice(workspace.data[split].images, samples):
            require_size(fixed, fitted_size(record.height, record.width, student.input), None, remedy)


def _comparable(workspace: Workspace, runtime: str, samples: int | None) -> None:
    """Raises: ExportError: the data or the runtime is not there, or no images are asked for."""
    if samples is not None and samples < 1:
        raise ExportError(f"no images to compare on: samples is {samples}", remedy="1 or more, or check=False")
    try:
        for name in (runtime, DEFAULT):  # what is without rewrites, only the latter can run
            find_runtime(name).version()
        _ = workspace.data
    except QRecipeError as error:
        what = f"the file could not be compared with its student: {error}"
        raise ExportError(what, remedy="--no-check writes it without comparing") from error
