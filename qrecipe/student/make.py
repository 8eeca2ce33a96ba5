"""From a captured detector and a recipe to its plan and its student."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from ..errors import PlanError, PlanErrors
from ..passes import run_passes
from ..planning import Plan, WhichModel, build_plan, check
from ..quantizers.affine import AffineQuantizer
from ..recipe.definition import DistillSpec, InputSpec, ModelSpec, QuantizerSpec, QuantizeSpec, Recipe
from ..recipe.distill_table import LOSSES, losses_of
from ..recipe.findings import either
from ..structure import mark
from .original import Original
from .student import Student


def make_student(
    original: Original, recipe: Recipe, plan: Plan | None = None, *, part: WhichModel = "model"
) -> Student:
    """Rewrite a copy of a captured detector as a plan says.

    Args:
        plan: of this original and recipe, with quantizers of its own for some sites (``specs`` of ``make_plan``); by
            default the recipe's.
        part: which of the recipe's models the original is; its own ``roles`` are read.

    Raises:
        PlanError: the recipe does not fit the model, or the plan is none of this recipe and model.
    """
    own = make_plan(original, recipe, part=part, specs=plan.chosen if plan is not None else {})
    if plan is None:
        plan = own
    elif _carried_out(plan) != _carried_out(own):
        raise PlanError("the plan was made of another recipe or model than this one", remedy="make_plan makes one")
    captured = original.captured.copy()
    mark(captured, original.structure(model_spec(recipe, part).roles))
    reports = run_passes(captured, plan)
    student = Student(
        captured.root, captured.programs, recipe, plan, original.family, original.input, original.label_map, reports
    )
    if recipe.train.freeze_oscillating is not None:
        for quantizer in student.quantizers.values():
            if isinstance(quantizer, AffineQuantizer) and quantizer.operand.is_weight:
                quantizer.allow_freezing()
    for planned in plan.alignments:
        student.query_alignments[planned.layer].mode = "on"
    student.set_stage(None)
    return student


def _carried_out(plan: Plan) -> tuple[object, ...]:
    """What of a plan the passes carry out."""
    return plan.sites, plan.alignments, plan.taps, plan.batch_norm, plan.equalized, plan.smoothed, plan.corrections


def make_plan(
    original: Original,
    recipe: Recipe,
    image_size: tuple[int, int] | None = None,
    *,
    part: WhichModel = "model",
    specs: Mapping[str, QuantizerSpec | None] = MappingProxyType({}),
) -> Plan:
    """The plan alone.

    Args:
        image_size: (height, width) at which costs are counted; by default that of the original's input.
        part: which of the recipe's models the original is; its own ``roles`` are read.
        specs: by site, quantizers that are chosen whatever the recipe says; None for real-valued.

    Raises:
        PlanError: the recipe does not fit the model.
    """
    if recipe.teacher is None:
        part = "model"  # the model is its own teacher
    if recipe.train.loss.denoising and part == "model" and not original.family.denoising:
        raise PlanError(
            f"{original.family.name} has no denoising branch to train with",
            where=recipe.where(("train", "loss", "denoising")),
            remedy="remove it, or set it to null",
        )
    _check_scores(original, recipe, part)
    roles = model_spec(recipe, part).roles
    check(original.captured, recipe, roles, part)
    notes = (*original.family.notes, *original.captured.warnings)
    return build_plan(
        original.structure(roles), recipe, image_size or plan_size(original.input), notes=notes, part=part, specs=specs
    )


def _check_scores(original: Original, recipe: Recipe, part: WhichModel) -> None:
    """Raises: PlanErrors: a distance between classes is not for the scores of this model."""
    scores = original.family.scores
    fitting = either([name for name in losses_of("classes") if LOSSES[name].scores in (None, scores)])
    problems = [
        PlanError(
            f"{target.loss} compares {LOSSES[target.loss].scores} scores, those of the {part} are {scores}",
            where=recipe.where(("distill", "targets", index, "loss")),
            remedy=f"set loss: {fitting}",
        )
        for index, target in enumerate(recipe.distill.targets)
        if LOSSES[target.loss].scores not in (None, scores)
    ]
    if problems:
        raise PlanErrors(problems)


def model_spec(recipe: Recipe, part: WhichModel) -> ModelSpec:
    """The model, or the teacher; the model is its own teacher where the recipe names no other."""
    return recipe.teacher if part == "teacher" and recipe.teacher is not None else recipe.model


def plan_size(image_input: InputSpec) -> tuple[int, int]:
    """The (height, width) at which costs are counted: the fixed size, or a 4:3 image after DETR's resize."""
    if image_input.size is not None:
        return image_input.size
    if image_input.within is not None:
        height, width = image_input.within
        return min(height, max(round(width * 3 / 4), 1)), min(width, max(round(height * 4 / 3), 1))
    shortest = image_input.shortest or 800
    return shortest, min(round(shortest * 4 / 3), image_input.longest or round(shortest * 4 / 3))


def real_valued(recipe: Recipe, targets: bool = False) -> Recipe:
    """The recipe without quantizers and alignment: what a teacher and a control are compiled with.

    Args:
        targets: keep the distillation targets, so that the teacher has the student's taps.
    """
    return dataclasses.replace(
        recipe,
        quantize=QuantizeSpec(batch_norm=recipe.quantize.batch_norm),
        distill=DistillSpec(targets=recipe.distill.targets if targets else ()),
    )
