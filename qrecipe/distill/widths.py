"""Features of student and teacher are compared channel by channel, so their widths must agree."""

from __future__ import annotations

from ..errors import PlanError


def check_widths(student_width: int, teacher_width: int, where: str) -> None:
    """Refuse a distillation target whose features have different widths.

    Args:
        student_width, teacher_width: channels of the tapped features.
        where: the target's place in the recipe, or the tap's name.

    Raises:
        PlanError: the widths differ.
    """
    if student_width != teacher_width:
        raise PlanError(
            f"the student's feature has {student_width} channels and the teacher's {teacher_width}",
            where=where,
            remedy="set project: learned, or choose a teacher of the same width",
        )
