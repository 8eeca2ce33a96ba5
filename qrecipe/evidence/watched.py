"""A student once more, with its cross-attention's queries and logits tapped."""

from __future__ import annotations

import dataclasses

from ..placement import placement_of
from ..planning import WhichModel
from ..planning.targets import tapped_layers
from ..recipe.definition import TargetSpec
from ..structure import Structure
from ..student import Original, Student, make_plan, make_student, model_spec
from ..vocabulary import LOGITS, QUERY


def structure_of(student: Student, original: Original, part: WhichModel) -> Structure:
    """The original's, with the roles that the student's recipe names for it."""
    return original.structure(model_spec(student.recipe, part).roles)


def watched_like(student: Student, original: Original, part: WhichModel) -> Student:
    """The same weights, ranges and stage in evaluation mode; ``with_taps`` gives the queries and the attention logits
    of every decoder layer that has them.

    Args:
        original: what the student was made from. part: as ``make_student`` takes it.

    Raises:
        PlanError: the original is another one.
    """
    recipe, structure = student.recipe, structure_of(student, original, part)
    targets = tuple(TargetSpec(at=role, layers="all") for role in (QUERY, LOGITS) if tapped_layers(structure, role))
    tapped = dataclasses.replace(recipe, distill=dataclasses.replace(recipe.distill, targets=targets))
    made = make_student(original, tapped, make_plan(original, tapped, part=part, specs=student.plan.chosen), part=part)
    made.to(placement_of(student).device)
    made.load_state_dict(student.state_dict())
    made.set_stage(student.quantized_roles)
    for layer, alignment in student.query_alignments.items():
        made.query_alignments[layer].mode = alignment.mode
    return made.eval()
