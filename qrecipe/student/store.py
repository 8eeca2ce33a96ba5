"""A student on disk: weights, ranges and the recipe that rebuilds the structure before they are loaded, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..data.labels import LabelMap
from ..errors import ModelError
from ..models.families import build_family
from ..models.loading.build import build_model
from ..recipe import recipe_from_mapping
from ..recipe.definition import InputSpec, QuantizerSpec, Recipe
from ..run.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from .make import make_plan, make_student, real_valued
from .original import Original, capture_original
from .student import Student


def save(student: Student, folder: Path | str) -> None:
    """Write a student's weights, ranges and recipe into a folder, in place of the one that is there.

    Raises:
        RunError: the file system refuses it; what was there is intact.
    """
    save_checkpoint(Path(folder), Checkpoint(weights=student.state_dict(), extra=description(student)))


def description(student: Student) -> dict[str, Any]:
    """What a checkpoint's manifest needs beside the weights, for ``load`` to rebuild a student. Plain data."""
    label_map, chosen = student.label_map, student.plan.chosen
    return {
        "recipe": _rebuilding(student),
        "real_valued": not student.plan.quantizers and not student.plan.alignments,
        "quantized_roles": student.quantized_roles,
        "input": dataclasses.asdict(student.input),
        "label_map": None if label_map is None else _plain_map(label_map),
        **({"specs": {site: spec and dataclasses.asdict(spec) for site, spec in chosen.items()}} if chosen else {}),
    }


def _rebuilding(student: Student) -> dict[str, Any]:
    """The resolved recipe, with what else the model was given: a prompt that a tokenizer wrote stays as it is."""
    resolved = dict(student.recipe.resolved)
    model = resolved.get("model")
    if student.family.config and isinstance(model, Mapping) and not model.get("factory"):
        resolved["model"] = {**model, "config": {**(model.get("config") or {}), **student.family.config}}
    return resolved


def load(folder: Path | str, model: nn.Module | None = None, *, cache: bool = True) -> Student:
    """Rebuild a student from its folder, in evaluation mode: build the model, capture it, apply the recipe, load.

    Args:
        model: needed after ``qrecipe.compile``, which sees no data; only its structure is read.
        cache: whether a capture that is kept on disk will do, and a new one is kept.

    Raises:
        TrainError: the folder is no student, or damaged. ModelError: the model cannot be rebuilt.
        CaptureError, PlanError: as ``compile``.
    """
    folder = Path(folder)
    extra = load_checkpoint(folder).extra
    if "recipe" not in extra:
        raise ModelError("this checkpoint was not written by save()", where=str(folder))
    recipe = recipe_from_mapping(extra["recipe"])
    label_map = _read_map(extra["label_map"])
    original = _original(recipe, label_map, model, folder, extra["input"], cache)
    if extra["real_valued"]:
        recipe = real_valued(recipe, targets=True)
    specs = {site: spec and QuantizerSpec(**spec) for site, spec in extra.get("specs", {}).items()}
    student = make_student(original, recipe, make_plan(original, recipe, specs=specs))
    load_weights(folder, student)
    student.set_bits(extra.get("bits"))
    student.set_stage(extra["quantized_roles"])
    return student.eval()


def read_input(values: Mapping[str, Any]) -> InputSpec:
    """How images are prepared, as a checkpoint's ``extra`` has it; of an older one too, which knew fewer keys."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return InputSpec(**plain)


def _original(
    recipe: Recipe,
    label_map: LabelMap | None,
    model: nn.Module | None,
    folder: Path,
    image_input: dict[str, Any],
    cache: bool,
) -> Original:
    shown = read_input(image_input)
    if model is not None:
        classes = None if label_map is None else label_map.classes
        family = build_family(model, recipe.train.loss, recipe.model.family, classes, recipe.model.input.size)
        return capture_original(model, family, shown, label_map=label_map, cache=cache)
    if label_map is None:
        raise ModelError(
            "the recipe of this student names no data, so its model cannot be rebuilt",
            where=str(folder),
            remedy="give the model: qrecipe.load(folder, model)",
        )
    categories = sorted(label_map.names.items())
    built = build_model(recipe.model, categories, recipe.train.loss, random_weights=True, label_map=label_map)
    return capture_original(built.model, built.family, shown, label_map=label_map, cache=cache, code=built.code)


def _plain_map(label_map: LabelMap) -> dict[str, Any]:
    return {
        "category_to_class": {str(key): value for key, value in label_map.category_to_class.items()},
        "names": {str(key): value for key, value in label_map.names.items()},
        "classes": label_map.classes,
    }


def _read_map(data: dict[str, Any] | None) -> LabelMap | None:
    if data is None:
        return None
    return LabelMap(
        {int(key): value for key, value in data["category_to_class"].items()},
        {int(key): value for key, value in data["names"].items()},
        data["classes"],
    )
