"""``qrecipe evaluate``: the AP of a run, of a saved student, or of the real-valued model, on any split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from ..data.loader import BatchLoader
from ..errors import EvaluateError, RunError
from ..evaluate import Evaluation
from ..recipe import load_recipe, recipe_from_mapping
from ..recipe.definition import Recipe
from ..run.folder import RunFolder
from ..run.checkpoint import has_checkpoint, load_checkpoint
from ..student import Student, make_student
from ..student.store import load_student
from ..train.denormals import set_flushed
from .score import Progress, score_model, score_student
from .workshop import Say, Workshop

Which = Literal["trained", "control", "calibrated", "real", "off"]
FOLDERS = {"trained": "student", "control": "control", "calibrated": "calibrated"}


@dataclasses.dataclass(frozen=True)
class Target:
    """What is evaluated: a recipe (and so its real-valued model), and a saved student where there is one."""

    recipe: Recipe
    student: Path | None
    which: Which


def find_target(path: Path, which: Which | None, overrides: tuple[str, ...] = ()) -> Target:
    """Tell a run folder, a student's folder and a recipe apart.

    Raises:
        RunError: it is none of them, or the run has no such student.
        RecipeError: the recipe has errors.
    """
    if (path / "recipe.json").exists():
        chosen = which or "trained"
        recipe = recipe_from_mapping(RunFolder.read(path).recipe())
        folder = path / FOLDERS[chosen] if chosen in FOLDERS else None
        if folder is not None and not has_checkpoint(folder):
            have = [name for name, own in FOLDERS.items() if has_checkpoint(path / own)]
            raise RunError(
                f"the run has no {chosen} student", where=str(path), remedy=f"it has {', '.join(have) or 'none yet'}"
            )
        return Target(recipe, folder, chosen)
    if path.is_dir() and has_checkpoint(path):
        recipe = recipe_from_mapping(load_checkpoint(path).extra["recipe"])
        return Target(recipe, None if which in ("real", "off") else path, which or "trained")
    if path.is_dir():
        raise RunError("this is neither a run nor a student", where=str(path))
    chosen = which or "real"
    if chosen in FOLDERS:
        raise RunError(f"a recipe has no {chosen} student", where=str(path), remedy="use real or off, or a run folder")
    return Target(load_recipe(path, overrides), None, chosen)


def evaluate(
    target: Target, split: str, say: Say, *, random_weights: bool = False, progress: Progress | None = None
) -> tuple[Evaluation, list[dict[str, object]]]:
    """The twelve COCO numbers, per-class AP, and the detections.

    Raises:
        QRecipeError: the data, the model or the student has something wrong with it.
    """
    set_flushed(True)
    workshop = Workshop(target.recipe, (split,), say, random_weights)
    if target.student is not None:
        student = load_student(target.student)
        return score_student(student, _loader(workshop, student, split), workshop, split, progress)
    if target.which == "off":
        student = make_student(workshop.source, target.recipe)
        student.switch_off()
        return score_student(student, _loader(workshop, student, split), workshop, split, progress)
    loader = workshop.loader(split, train=False)
    return score_model(workshop.built, loader, workshop, split, progress)


def _loader(workshop: Workshop, student: Student, split: str) -> BatchLoader:
    if student.label_map is None:
        raise EvaluateError("the student knows no categories")
    return workshop.batches(split, student.label_map, student.input, train=False)
