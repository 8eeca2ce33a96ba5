"""What a command is pointed at: a recipe, or a run, or a saved student or checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..deploy import open_file, read_metadata
from ..errors import RunError
from ..recipe import recipe_from_mapping
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe, without_weights
from ..run.checkpoint import has_checkpoint, load_checkpoint
from ..run.folder import RunFolder
from ..run.layout import MODELS, Which, is_run
from ..student import make_student
from ..student.store import load
from .detector import Detector, built_detector, file_detector, student_detector
from .events import Noted
from .stored_input import with_input_of, with_input_of_run
from .workspace import Workspace

EXPORTED = ".onnx"
"""The ending of exported files."""


@dataclass(frozen=True)
class Target:
    """A recipe (and so its real-valued model), and a saved student or an exported file where that is meant.

    title: for the user.
    """

    recipe: Recipe
    student: Path | None
    which: Which
    title: str
    file: Path | None = None


def find_target(
    given: Recipe | Path | str,
    which: Which | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    *,
    data: bool = True,
) -> Target:
    """Tell a run folder, a student's folder, an exported file and a recipe apart.

    Args:
        given: one of them, or a recipe that is read already.
        which: by default a run's trained student, a student's folder itself, or a recipe's real-valued model.
        overrides: as ``load_recipe`` takes them. Of a run or a student only ``data`` can be changed.
        random_weights: leave the recipe's weights out.
        data: whether a recipe's data will be read, as in ``load_recipe``.

    Raises:
        RunError: it is none of them, or has no such model. RecipeErrors: the recipe has errors.
    """
    path = None if isinstance(given, Recipe) else Path(given)
    if path is not None and is_run(path):
        target = _of_run(path, which or "trained", overrides)
    elif path is not None and path.is_dir():
        target = _of_student(path, which, overrides)
    elif path is not None and path.suffix.lower() == EXPORTED:
        target = _of_file(path, which, overrides)
    else:
        target = _of_recipe(given, which or "real", overrides, data)
    if not random_weights:
        return target
    if target.student is not None or target.file is not None:
        raise RunError("a saved student brings its own weights", where=str(path), remedy="leave --random-weights out")
    return Target(without_weights(target.recipe), None, target.which, f"{target.title}, random weights")


def open_target(target: Target, workspace: Workspace) -> Detector:
    """Build the model that is meant.

    Raises:
        QRecipeError: the data, the model or the student has something wrong with it.
    """
    if target.file is not None:
        return file_detector(open_file(target.file))
    if target.student is not None:
        text = f"{target.title}, built and captured again, its weights from {target.student}"
        workspace.listener(Noted("model", text, progress=True))
        return student_detector(load(target.student, cache=workspace.cache))
    if target.which == "off":
        student = make_student(workspace.original, target.recipe)
        student.switch_off()
        return student_detector(student)
    return built_detector(workspace.built)


def _of_recipe(given: Recipe | Path | str, which: Which, overrides: Sequence[str], data: bool) -> Target:
    if which in MODELS:
        where = given.name if isinstance(given, Recipe) else str(given)
        raise RunError(f"a recipe has no {which} model", where=where, remedy="use real or off, or name a run folder")
    recipe = read_recipe(given, overrides, data=data)
    return Target(recipe, None, which, f"{recipe.name}, {which}")


def _of_run(path: Path, which: Which, overrides: Sequence[str]) -> Target:
    recipe = _with_data(recipe_from_mapping(RunFolder.read(path).recipe()), overrides, path)
    title = f"{recipe.name}, {which}"
    if which not in MODELS:
        return Target(with_input_of_run(recipe, path), None, which, title)
    folder = path / MODELS[which]
    if has_checkpoint(folder):
        return Target(recipe, folder, which, title)
    have = [name for name, own in MODELS.items() if has_checkpoint(path / own)]
    state = "is not finished and" if not RunFolder.read(path).is_finished else "has ended and"
    raise RunError(
        f"the run {state} has no {which} model" + (" yet" if "not" in state else ""),
        where=str(path),
        remedy=f"choose with --model: {', '.join([*have, 'real', 'off'])}",
    )


def _of_student(path: Path, which: Which | None, overrides: Sequence[str]) -> Target:
    if not has_checkpoint(path):
        raise RunError("this is neither a run nor a student", where=str(path), remedy="name a run folder or a recipe")
    data = load_checkpoint(path).extra.get("recipe")
    if data is None:
        raise RunError("this checkpoint does not say of what recipe it is", where=str(path))
    if which in MODELS and which != "trained":
        raise RunError(
            f"a student's folder has no {which} model", where=str(path), remedy="name the run's folder instead"
        )
    recipe = _with_data(recipe_from_mapping(data), overrides, path)
    saved = None if which in ("real", "off") else path
    recipe = recipe if saved else with_input_of(recipe, [path])
    return Target(recipe, saved, which or "trained", f"{recipe.name}, {which or path.name}")


def _of_file(path: Path, which: Which | None, overrides: Sequence[str]) -> Target:
    if which is not None:
        raise RunError(f"an exported file has no {which} model", where=str(path), remedy="leave --model out")
    resolved = read_metadata(path).recipe
    if resolved is None:
        raise RunError("this file does not say of what recipe it is", where=str(path))
    recipe = _with_data(recipe_from_mapping(resolved), overrides, path)
    return Target(recipe, None, "trained", f"{path.name} in ONNX Runtime", path)


def _with_data(recipe: Recipe, overrides: Sequence[str], path: Path) -> Recipe:
    """A recipe that was run, on other data."""
    fixed = [text for text in overrides if not text.startswith(("data.", "data="))]
    if fixed:
        raise RunError(
            f"the recipe of what was trained is fixed: {', '.join(fixed)}",
            where=str(path),
            remedy="only data can be set, for example data.test.images=FOLDER",
        )
    return recipe_from_mapping(recipe.resolved, recipe.name, overrides=overrides) if overrides else recipe
