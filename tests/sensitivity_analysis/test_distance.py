"""The distance of predictions, against a loop in plain Python."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from qrecipe.detection.prediction import Prediction, Scores
from qrecipe.errors import EvaluateError
from qrecipe.sensitivity_analysis import prediction_distance


def a_prediction(seed: int, queries: int = 4, classes: int = 3, images: int = 2) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, queries, classes, generator=generator, dtype=torch.float64) * 2
    boxes = torch.rand(images, queries, 4, generator=generator, dtype=torch.float64) * 0.4 + 0.3
    return Prediction(logits, boxes)


def probabilities(logits: list[float], scores: Scores) -> list[float]:
    if scores == "sigmoid":
        return [1 / (1 + math.exp(-value)) for value in logits]
    whole = sum(math.exp(value) for value in logits)
    return [math.exp(value) / whole for value in logits]


def objects(logits: list[float], scores: Scores) -> float:
    found = probabilities(logits, scores)
    return max(found[:-1] if scores == "softmax" else found)


def divergence(ours: list[float], theirs: list[float], scores: Scores) -> float:
    p, q = probabilities(ours, scores), probabilities(theirs, scores)
    total = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    if scores == "sigmoid":
        total += sum((1 - a) * math.log((1 - a) / (1 - b)) for a, b in zip(p, q, strict=True))
    return total


def apart(one: list[float], two: list[float]) -> float:
    """L1 and 1 - GIoU of two boxes, cxcywh."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = one, two
    a, b = (ax - aw / 2, ay - ah / 2, ax + aw / 2, ay + ah / 2), (bx - bw / 2, by - bh / 2, bx + bw / 2, by + bh / 2)
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = aw * ah + bw * bh - wide * high
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    giou = wide * high / union - (hull - union) / hull
    return sum(abs(p - q) for p, q in zip(one, two, strict=True)) + 1 - giou


def slow(reference: Prediction, other: Prediction, scores: Scores) -> tuple[float, float]:
    classes = boxes = weight = 0.0
    for image in range(len(reference.logits)):
        ours, theirs = reference.logits[image].tolist(), other.logits[image].tolist()
        here, there = reference.boxes[image].tolist(), other.boxes[image].tolist()
        count = len(ours)

        def cost(i: int, j: int) -> float:
            p, q = probabilities(ours[i], scores), probabilities(theirs[j], scores)  # noqa: B023
            return sum(abs(a - b) for a, b in zip(p, q, strict=True)) + apart(here[i], there[j])  # noqa: B023

        best = min(
            itertools.permutations(range(count)), key=lambda order: sum(cost(i, order[i]) for i in range(len(order)))
        )
        for i in range(count):
            j = best[i]
            share = max(objects(ours[i], scores), objects(theirs[j], scores))
            classes += share * divergence(ours[i], theirs[j], scores)
            boxes += share * apart(here[i], there[j])
            weight += objects(ours[i], scores)
    return classes / weight, boxes / weight


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_loop(scores: Scores, seed: int) -> None:
    reference, other = a_prediction(seed), a_prediction(seed + 100)
    found = prediction_distance([reference], [other], scores)
    classes, boxes = slow(reference, other, scores)
    assert (found.classes, found.boxes) == (pytest.approx(classes, rel=1e-9), pytest.approx(boxes, rel=1e-9))
    assert found.total == found.classes + found.boxes


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_the_order_of_queries_counts_for_nothing(scores: Scores) -> None:
    one = a_prediction(0, queries=130)
    order = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    found = prediction_distance([one], [Prediction(one.logits[:, order], one.boxes[:, order])], scores)
    assert found.total == pytest.approx(0, abs=1e-12)


def test_a_detection_that_is_made_up_counts() -> None:
    logits: Tensor = torch.full((1, 4, 3), -6.0)
    logits[0, 0, 0] = 4.0
    more = logits.clone()
    more[0, 1, 1] = 4.0
    boxes = a_prediction(0, images=1).boxes
    lost = prediction_distance([Prediction(more, boxes)], [Prediction(logits, boxes)], "sigmoid")
    made_up = prediction_distance([Prediction(logits, boxes)], [Prediction(more, boxes)], "sigmoid")
    assert min(lost.total, made_up.total) > 1


def test_what_is_not_finite_is_said() -> None:
    one = a_prediction(0)
    with pytest.raises(EvaluateError, match="not finite"):
        prediction_distance([one], [Prediction(one.logits * torch.nan, one.boxes)], "sigmoid")
