"""From a model and a recipe to a student, in one call."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from ..errors import ModelError
from ..models.families import build_family
from ..recipe.definition import Recipe
from .make import make_student
from .original import capture_original
from .student import Student


def compile(model: nn.Module, recipe: Recipe, example_inputs: Tensor | None = None, *, cache: bool = True) -> Student:
    """Compile a detection transformer with a recipe.

    Args:
        model: the detector; it is left untouched.
        recipe: from ``load_recipe``; its ``model`` part is read for ``family``, ``input`` and ``roles`` only.
        example_inputs: (batch, 3, height, width) images to capture with; by default random ones of a size that fits
            the family's input. The batch, height and width stay dynamic.
        cache: whether a capture that is kept on disk will do, and a new one is kept.

    Raises:
        ModelError: the model has no values yet, or its forward or output cannot be read.
        CaptureError: the model cannot be captured, or the capture differs from it.
        PlanError: the recipe does not fit the model.
    """
    _refuse_meta(model)
    family = build_family(model, recipe.train.loss, recipe.model.family, size=recipe.model.input.size)
    original = capture_original(model, family, family.input(recipe.model.input), example_inputs, cache=cache)
    for warning in original.captured.warnings:
        warnings.warn(warning, stacklevel=2)
    return make_student(original, recipe)


def _refuse_meta(model: nn.Module) -> None:
    empty = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if value.is_meta]
    if empty:
        raise ModelError(
            f"it has no values yet: {len(empty)} parameters and buffers are on the meta device, first {empty[0]}",
            where=type(model).__name__,
            remedy="load its weights first (load_state_dict with assign=True), or build it on another device",
        )
