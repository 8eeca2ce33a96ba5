"""Every distance between a pair of queries against sums over numbers, its gradient, and its extremes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.distill import LOSSES
from qrecipe.named_code import load

Numbers = Sequence[float]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(values: Numbers) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def cosine(student: Numbers, teacher: Numbers) -> float:
    return 1 - sum(s * t for s, t in zip(student, teacher, strict=True)) / math.hypot(*student) / math.hypot(*teacher)


def kl(student: Numbers, teacher: Numbers) -> float:
    return sum(t * math.log(t / s) for s, t in zip(softmax(student), softmax(teacher), strict=True))


def bce(student: Numbers, teacher: Numbers) -> float:
    """The divergence of two coins, class by class."""
    total = 0.0
    for s, t in zip(map(sigmoid, student), map(sigmoid, teacher), strict=True):
        total += t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s))
    return total


def giou(student: Numbers, teacher: Numbers) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = student, teacher
    wide = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    high = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    overlap = max(wide, 0) * max(high, 0)
    union = aw * ah + bw * bh - overlap
    hull = (max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)) * (
        max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    )
    return 1 - overlap / union + (hull - union) / hull


SLOW: dict[str, Callable[[Numbers, Numbers], float]] = {
    "l2": lambda s, t: math.dist(s, t),
    "relative": lambda s, t: math.dist(s, t) ** 2,  # and below over the norms' mean
    "mse": lambda s, t: math.dist(s, t) ** 2 / len(s),
    "cosine": cosine,
    "kl": kl,
    "bce": bce,
    "l1": lambda s, t: sum(abs(a - b) for a, b in zip(s, t, strict=True)),
    "giou": giou,
}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_equals_the_sums(name: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) + 0.01 for _ in range(2))
    if "boxes" not in LOSSES[name].compares:
        student, teacher = student * 4 - 2, teacher * 4 - 2
    found = load(LOSSES[name].code)(student, teacher)
    assert found.shape == (2, 3)
    for image in range(2):
        for query in range(3):
            expected = SLOW[name](student[image, query].tolist(), teacher[image, query].tolist())
            if name == "relative":
                expected /= sum(math.hypot(*row) ** 2 for row in teacher[image].tolist()) / 3
            assert found[image, query].item() == pytest.approx(expected, abs=1e-9)
    assert bool((found >= -1e-12).all())


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.rand(2, 3, 4, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    distance = load(LOSSES[name].code)
    assert torch.autograd.gradcheck(lambda own: distance(own, teacher), (student.requires_grad_(),))


@pytest.mark.parametrize("name", LOSSES)
def test_zero_at_the_teacher_and_finite_where_all_is_zero(name: str) -> None:
    distance = load(LOSSES[name].code)
    teacher = torch.rand(3, 4, dtype=torch.float64)
    torch.testing.assert_close(distance(teacher, teacher), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    for other in (torch.zeros(3, 4), torch.rand(3, 4)):
        student = torch.zeros(3, 4, requires_grad=True)
        for pair in ((student, other), (student + other, torch.zeros(3, 4))):
            value = distance(*pair).sum()
            (slope,) = torch.autograd.grad(value, student)
            assert value.isfinite()
            assert slope.isfinite().all()


def test_a_query_that_sees_nothing_does_not_outweigh_the_others() -> None:
    """Its feature is nearly zero, as of one that looks past the image; zeros alone are no part of the mean."""
    teacher = torch.ones(1, 4, 3)
    teacher[0, 1], teacher[0, 3] = 1e-8, 0.0
    student = teacher + 0.5
    found = load(LOSSES["relative"].code)(student, teacher)
    torch.testing.assert_close(found, torch.full((1, 4), 0.75 / 2))  # norms 3, 3e-16 and 3: their mean is 2


def test_far_logits_stay_finite() -> None:
    student = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    for name in ("kl", "bce"):
        value = load(LOSSES[name].code)(student, -student.detach()).sum()
        assert value.isfinite()
        (slope,) = torch.autograd.grad(value, student)
        assert slope.isfinite().all()
