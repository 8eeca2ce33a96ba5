"""From a captured detector and a recipe to its plan and its student."""

from __future__ import annotations

import dataclasses

from ..errors import PlanError
from ..graph.captured import Captured
from ..passes import run_passes
from ..plan import Plan, WhichModel, build_plan
from ..recipe.definition import DistillSpec, InputSpec, QuantizeSpec, Recipe
from .source import Source
from .student import Student


def make_student(source: Source, recipe: Recipe, plan: Plan | None = None, *, part: WhichModel = "model") -> Student:
    """Rewrite a copy of a captured source as a plan says.

    Args:
        plan: of this source and recipe, where a search or another tool has made one; by default ``make_plan``'s.
        part: which of the recipe's models the source is; its own ``roles`` are read.

    Raises:
        PlanError: the recipe does not fit the model.
    """
    captured = source.captured.copy()
    own = make_plan(source, recipe, captured, part=part)
    plan = own if plan is None else plan
    run_passes(captured, plan)
    student = Student(captured.root, captured.programs, recipe, plan, source.family, source.input, source.label_map)
    for planned in plan.alignments:
        student.query_alignments[planned.layer].mode = "on"
    student.set_stage(None)
    return student


def make_plan(
    source: Source,
    recipe: Recipe,
    captured: Captured | None = None,
    image_size: tuple[int, int] | None = None,
    part: WhichModel = "model",
) -> Plan:
    """The plan alone, on a copy of the source unless one is given; costs are counted at ``image_size``."""
    if recipe.teacher is None:
        part = "model"  # the model is its own teacher
    if recipe.train.loss.denoising and part == "model" and not source.family.denoising:
        raise PlanError(
            f"{source.family.name} has no denoising branch to train with",
            where=recipe.where(("train", "loss", "denoising")),
            remedy="remove it, or set it to null",
        )
    spec = recipe.teacher if part == "teacher" else recipe.model
    assert spec is not None
    return build_plan(
        captured or source.captured.copy(),
        recipe,
        image_size or plan_size(source.input),
        spec.roles,
        (*source.family.notes, *source.captured.warnings),
        part,
    )


def plan_size(image_input: InputSpec) -> tuple[int, int]:
    """The (height, width) at which costs are counted: the fixed size, or a 4:3 image after DETR's resize."""
    if image_input.size is not None:
        return image_input.size
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
