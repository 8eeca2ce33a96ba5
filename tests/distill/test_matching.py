"""Foreground matching against loops written from equations 2.33 to 2.35."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.distill import MATCHERS, all_match, foreground_match, match_queries, same_match
from qrecipe.errors import TrainError
from qrecipe.recipe.definition import MatchSpec

Box = list[float]


def slow_giou(a: Box, b: Box) -> float:
    ax0, ay0, ax1, ay1 = a[0] - a[2] / 2, a[1] - a[3] / 2, a[0] + a[2] / 2, a[1] + a[3] / 2
    bx0, by0, bx1, by1 = b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2
    overlap = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    union = a[2] * a[3] + b[2] * b[3] - overlap
    hull = (max(ax1, bx1) - min(ax0, bx0)) * (max(ay1, by1) - min(ay0, by0))
    return overlap / union - (hull - union) / hull


def slow_teacher(student: list[Box], teacher: list[Box], giou: float, l1: float) -> list[int]:
    chosen = []
    for s in student:
        best, index = -math.inf, 0
        for k, t in enumerate(teacher):
            score = giou * slow_giou(s, t) - l1 * sum(abs(x - y) for x, y in zip(s, t, strict=True))
            if score > best:
                best, index = score, k
        chosen.append(index)
    return chosen


def slow_keep(student: list[Box], objects: list[Box], tau: float) -> list[bool]:
    keep = [False] * len(student)
    for gt in objects:
        overlaps = [slow_giou(gt, s) for s in student]
        best = max(overlaps)
        if best <= 0:
            continue
        for j, overlap in enumerate(overlaps):
            if overlap > tau * best:
                keep[j] = True
    return keep


def boxes(generator: torch.Generator, *sizes: int) -> Tensor:
    """Random cxcywh boxes of all sizes, in float64 so that no two scores tie."""
    centre = torch.rand(*sizes, 2, generator=generator, dtype=torch.float64)
    side = 0.02 + 0.5 * torch.rand(*sizes, 2, generator=generator, dtype=torch.float64) ** 2
    return torch.cat([centre, side], -1)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    students=st.integers(1, 7),
    teachers=st.integers(1, 7),
    tau=st.sampled_from([0.0, 0.3, 0.6, 0.95]),
    weights=st.sampled_from([(2.0, 5.0), (1.0, 0.0), (0.0, 1.0)]),
)
def test_equals_the_loops(
    seed: int, counts: list[int], students: int, teachers: int, tau: float, weights: tuple[float, float]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = boxes(generator, len(counts), students), boxes(generator, len(counts), teachers)
    objects = [boxes(generator, n) for n in counts]
    match = foreground_match(student, teacher, objects, tau, *weights)
    everything = all_match(student, teacher, *weights)
    for i, gt in enumerate(objects):
        assert match.keep[i].tolist() == slow_keep(student[i].tolist(), gt.tolist(), tau)
        assert match.teacher_index[i].tolist() == slow_teacher(student[i].tolist(), teacher[i].tolist(), *weights)
    assert everything.keep.all()
    assert torch.equal(everything.teacher_index, match.teacher_index)


# One object in the left half; students: on it, half on it, away, touching nothing.
OBJECT = torch.tensor([[0.25, 0.5, 0.3, 0.4]])
STUDENT = torch.tensor([[[0.25, 0.5, 0.3, 0.4], [0.3, 0.55, 0.3, 0.4], [0.35, 0.6, 0.3, 0.4], [0.9, 0.1, 0.1, 0.1]]])
TEACHER = torch.tensor([[[0.9, 0.1, 0.1, 0.1], [0.26, 0.5, 0.3, 0.4]]])


def test_a_larger_tau_keeps_fewer_and_zero_still_asks_for_overlap() -> None:
    kept = {tau: foreground_match(STUDENT, TEACHER, [OBJECT], tau).keep[0].tolist() for tau in (0.0, 0.3, 0.6, 0.99)}
    assert kept[0.0] == [True, True, True, False]
    assert kept[0.3] == [True, True, False, False]
    assert kept[0.99] == [True, False, False, False]
    assert all_match(STUDENT, TEACHER).keep.all()


def test_the_inequality_is_strict() -> None:
    """All values here are exact: GIoU 1, 1/2 (inside) and 0 (side by side)."""
    objects = [torch.tensor([[0.25, 0.5, 0.5, 0.5]])]
    student = torch.tensor([[[0.25, 0.5, 0.5, 0.5], [0.25, 0.5, 0.25, 0.5], [0.75, 0.5, 0.5, 0.5]]])
    assert foreground_match(student, student, objects, 0.5).keep[0].tolist() == [True, False, False]
    assert foreground_match(student, student, objects, 0.0).keep[0].tolist() == [True, True, False]


def test_several_students_may_take_one_teacher() -> None:
    match = foreground_match(STUDENT, TEACHER, [OBJECT], 0.0)
    assert match.teacher_index[0].tolist() == [1, 1, 1, 0]


def test_near_one_object_is_enough() -> None:
    """ "For all objects", as 2.34 is printed, would keep nothing here."""
    student = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]])
    objects = [torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])]
    assert foreground_match(student, student, objects, 0.6).keep.all()


def test_images_without_objects_and_objects_that_nothing_touches() -> None:
    student, teacher = STUDENT.expand(3, -1, -1), TEACHER.expand(3, -1, -1)
    untouched = torch.tensor([[0.6, 0.95, 0.05, 0.05]])
    match = foreground_match(student, teacher, [torch.zeros(0, 4), untouched, torch.cat([untouched, OBJECT])], 0.6)
    assert match.keep.any(1).tolist() == [False, False, True]
    nothing = foreground_match(student, teacher, [torch.zeros(0, 4)] * 3, 0.0)
    assert not nothing.keep.any()
    assert nothing.teacher_index.shape == (3, 4)


def test_padding_is_not_an_object() -> None:
    """Padded objects are boxes of no area at the origin: a student there must not see them."""
    student = torch.tensor([[[0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.1, 0.1]]])
    objects = [torch.zeros(0, 4), torch.tensor([[0.5, 0.5, 0.1, 0.1]] * 3)]
    assert not foreground_match(student, student, objects, 0.0).keep.any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_boxes_that_are_not_finite_keep_nothing_and_crash_nothing(value: float) -> None:
    student = STUDENT.clone()
    student[0, 0, 2] = value
    match = foreground_match(student, TEACHER, [OBJECT], 0.6)
    assert match.keep[0].tolist() == [False, True, False, False]
    teacher = TEACHER.clone()
    teacher[0, 1, 0] = value
    assert foreground_match(STUDENT, teacher, [OBJECT], 0.6).teacher_index[0].tolist() == [0, 0, 0, 0]
    everything = torch.full_like(STUDENT, value)
    lost = foreground_match(everything, torch.full_like(TEACHER, value), [torch.full((1, 4), value)], 0.0)
    assert not lost.keep.any()
    assert lost.teacher_index.min() >= 0
    assert lost.teacher_index.max() < TEACHER.shape[1]


def test_no_gradient_flows() -> None:
    student = STUDENT.clone().requires_grad_()
    match = foreground_match(student, TEACHER.clone().requires_grad_(), [OBJECT], 0.5)
    assert not match.keep.requires_grad
    assert not match.teacher_index.requires_grad


def test_half_precision_boxes() -> None:
    match = foreground_match(STUDENT.bfloat16(), TEACHER.bfloat16(), [OBJECT], 0.3)
    assert match.keep[0].tolist() == [True, True, False, False]


@pytest.mark.parametrize("tau", [-0.1, 1.0, 2.0, math.nan])
def test_tau_out_of_range(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        foreground_match(STUDENT, TEACHER, [OBJECT], tau)


def test_another_number_of_images() -> None:
    with pytest.raises(ValueError, match="2 images"):
        foreground_match(STUDENT, TEACHER, [OBJECT, OBJECT], 0.5)


def test_a_recipes_match() -> None:
    assert set(MATCHERS) == {"foreground", "all", "same"}
    scores = torch.rand(1, TEACHER.shape[1])
    spec = MatchSpec(kind="foreground", tau=0.3, giou=2.0, l1=5.0)
    assert torch.equal(
        match_queries(spec, STUDENT, TEACHER, [OBJECT], scores).keep,
        foreground_match(STUDENT, TEACHER, [OBJECT], 0.3).keep,
    )
    assert match_queries(MatchSpec(kind="all"), STUDENT, TEACHER, [OBJECT], scores).keep.all()
    same = match_queries(MatchSpec(kind="same"), TEACHER.flip(1), TEACHER, [OBJECT], scores)
    assert same.keep.all()
    assert same.teacher_index.tolist() == [list(range(TEACHER.shape[1]))]
    assert same.weight is scores


def test_the_same_queries_are_as_many() -> None:
    with pytest.raises(TrainError, match="the teacher has 7 queries, the student 4: none are the same"):
        same_match(STUDENT, torch.rand(1, 7))
