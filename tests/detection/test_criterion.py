"""The built-in criterion against loops over objects, brute-force matching, and transformers' own losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher, DeformableDetrImageLoss
from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

from qrecipe.detection.criterion import Criterion, focal_loss
from qrecipe.detection.prediction import Prediction, Scores
from qrecipe.errors import ModelError, PlanError, TrainError
from qrecipe.recipe.definition import LossSpec
from tests.detection.slow_detection import BOTH, CLASSES, random_batch, slow_loss


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    scores=st.sampled_from(BOTH),
    layers=st.integers(1, 3),
)
def test_equals_the_loops(seed: int, counts: list[int], scores: Scores, layers: int) -> None:
    prediction, labels = random_batch(seed, counts, scores, queries=4, layers=layers)
    total, parts = Criterion(CLASSES, LossSpec(), scores)(prediction, labels)
    expected = slow_loss(prediction.logits, prediction.boxes, labels, scores)
    if layers > 1:
        earlier = [slow_loss(logits, boxes, labels, scores) for logits, boxes in prediction.auxiliary]
        expected["auxiliary"] = sum(sum(layer.values()) for layer in earlier)
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(expected, rel=1e-6)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-6)


def as_transformers(prediction: Prediction) -> dict[str, Any]:
    return {
        "logits": prediction.logits,
        "pred_boxes": prediction.boxes,
        "auxiliary_outputs": [{"logits": a, "pred_boxes": b} for a, b in prediction.auxiliary],
    }


@pytest.mark.parametrize("counts", [[3, 1, 2], [0, 5], [0, 0], [7, 1]])
@pytest.mark.parametrize("scores", BOTH)
def test_equals_transformers(scores: Scores, counts: list[int]) -> None:
    prediction, labels = random_batch(11, counts, scores, layers=3, dtype=torch.float32)
    if scores == "softmax":
        weight = 1.0
        matcher = HungarianMatcher(class_cost=weight, bbox_cost=5, giou_cost=2)
        theirs = ImageLoss(matcher, CLASSES, 0.1, ["labels", "boxes"])
    else:
        weight = 2.0
        matcher = DeformableDetrHungarianMatcher(class_cost=weight, bbox_cost=5, giou_cost=2)
        theirs = DeformableDetrImageLoss(matcher, CLASSES, 0.25, ["labels", "boxes"])
    losses = {name: value.item() for name, value in theirs(as_transformers(prediction), labels).items()}
    total, parts = Criterion(CLASSES, LossSpec(), scores)(prediction, labels)
    assert parts["class"].item() == pytest.approx(weight * losses["loss_ce"], abs=1e-5)
    assert parts["l1"].item() == pytest.approx(5 * losses["loss_bbox"], abs=1e-5)
    assert parts["giou"].item() == pytest.approx(2 * losses["loss_giou"], abs=1e-5)
    coefficients = {"loss_ce": weight, "loss_bbox": 5.0, "loss_giou": 2.0}
    expected = sum(coefficients["_".join(name.split("_")[:2])] * value for name, value in losses.items())
    assert total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("counts", [[0], [0, 0], [2, 0], [9, 0]])
@pytest.mark.parametrize("scores", BOTH)
def test_finite_loss_and_gradients_with_few_objects_and_with_more_than_queries(
    scores: Scores, counts: list[int]
) -> None:
    prediction, labels = random_batch(5, counts, scores, layers=2, dtype=torch.float32)
    leaves = [prediction.logits, prediction.boxes, *prediction.auxiliary[0]]
    for leaf in leaves:
        leaf.requires_grad_()
    total, _ = Criterion(CLASSES, LossSpec(), scores)(prediction, labels)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.isfinite()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    assert prediction.logits.grad is not None
    assert prediction.logits.grad.any()


@pytest.mark.parametrize("scores", BOTH)
def test_gradients(scores: Scores) -> None:
    prediction, labels = random_batch(7, [2, 0, 1], scores, queries=3, layers=2)
    criterion = Criterion(CLASSES, LossSpec(), scores)

    def run(logits: Tensor, boxes: Tensor, logits_0: Tensor, boxes_0: Tensor) -> Tensor:
        return criterion(Prediction(logits, boxes, ((logits_0, boxes_0),)), labels)[0]

    leaves = [prediction.logits, prediction.boxes, *prediction.auxiliary[0]]
    assert torch.autograd.gradcheck(run, [leaf.requires_grad_() for leaf in leaves], rtol=1e-3, atol=1e-5)


def test_a_perfect_prediction_costs_nothing_but_confidence() -> None:
    _, labels = random_batch(3, [2], "sigmoid", queries=2)
    boxes = labels[0]["boxes"][None].clone().requires_grad_()
    logits = torch.full((1, 2, CLASSES), -20.0, dtype=torch.float64)
    for query, label in enumerate(labels[0]["class_labels"].tolist()):
        logits[0, query, label] = 20
    total, parts = Criterion(CLASSES, LossSpec(), "sigmoid")(Prediction(logits, boxes), labels)
    assert total.item() == pytest.approx(0, abs=1e-9)
    assert set(parts) == {"class", "l1", "giou"}
    total.backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


@pytest.mark.parametrize("scores", BOTH)
def test_every_layer_is_matched_on_its_own(scores: Scores) -> None:
    """Queries in another order in the earlier layer: its loss is the same, as its match is another."""
    prediction, labels = random_batch(13, [3, 2], scores)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    earlier = (prediction.logits[:, order], prediction.boxes[:, order])
    both = Prediction(prediction.logits, prediction.boxes, (earlier,))
    _, parts = Criterion(CLASSES, LossSpec(), scores)(both, labels)
    last = parts["class"] + parts["l1"] + parts["giou"]
    torch.testing.assert_close(parts["auxiliary"], last)


def test_coefficients_and_auxiliary_come_from_the_spec() -> None:
    prediction, labels = random_batch(17, [2, 1], "softmax", layers=2)
    _, plain = Criterion(CLASSES, LossSpec(), "softmax")(prediction, labels)
    spec = LossSpec(classification="cross_entropy", class_weight=3.0, l1=10.0, giou=0.0, auxiliary=False)
    total, parts = Criterion(CLASSES, spec, "softmax")(prediction, labels)
    torch.testing.assert_close(parts["class"], 3 * plain["class"])
    torch.testing.assert_close(parts["l1"], 2 * plain["l1"])
    assert parts["giou"] == 0
    assert "auxiliary" not in parts
    torch.testing.assert_close(total.detach(), torch.stack(list(parts.values())).sum())
    assert not any(part.requires_grad for part in parts.values())


def test_no_object_weight_zero_without_objects_is_zero() -> None:
    prediction, labels = random_batch(19, [0, 0], "softmax")
    prediction.logits.requires_grad_()
    total, _ = Criterion(CLASSES, LossSpec(no_object=0.0), "softmax")(prediction, labels)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0
    assert prediction.logits.grad is not None
    assert prediction.logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_the_formula_and_finite_at_the_extremes(gamma: float) -> None:
    logits = torch.linspace(-6, 6, 13, dtype=torch.float64)
    for positive in (True, False):
        p = logits.sigmoid() if positive else 1 - logits.sigmoid()
        expected = -(0.3 if positive else 0.7) * (1 - p) ** gamma * p.log()
        mask = torch.full_like(logits, positive, dtype=torch.bool)
        torch.testing.assert_close(focal_loss(logits, mask, 0.3, gamma), expected)
        extreme = torch.tensor([-1e4, -200.0, 0.0, 200.0, 1e4], requires_grad=True)
        found = focal_loss(extreme, torch.full_like(extreme, positive, dtype=torch.bool), 0.3, gamma)
        found.sum().backward()
        assert found.isfinite().all()
        assert extreme.grad is not None
        assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("what", ["logits", "boxes"])
@pytest.mark.parametrize("scores", BOTH)
def test_predictions_that_are_not_finite_name_their_images(scores: Scores, what: str) -> None:
    prediction, labels = random_batch(23, [1, 2, 0], scores)
    for image in (1, 2):
        getattr(prediction, what)[image, 0] = math.nan
    with pytest.raises(TrainError, match=r"image 1, 2 of the batch.*not finite"):
        Criterion(CLASSES, LossSpec(), scores)(prediction, labels)


def test_predictions_that_are_not_finite_show_in_a_batch_without_objects() -> None:
    prediction, labels = random_batch(23, [0, 0], "softmax")
    prediction.logits[0, 0, 0] = math.nan
    assert not Criterion(CLASSES, LossSpec(), "softmax")(prediction, labels)[0].isfinite()


def test_half_precision_is_computed_in_float32() -> None:
    prediction, labels = random_batch(29, [2, 1], "softmax", dtype=torch.float32)
    half = Prediction(prediction.logits.bfloat16(), prediction.boxes.bfloat16())
    total, _ = Criterion(CLASSES, LossSpec(), "softmax")(half, labels)
    assert total.dtype is torch.float32
    widened = Prediction(half.logits.float(), half.boxes.float())
    torch.testing.assert_close(total, Criterion(CLASSES, LossSpec(), "softmax")(widened, labels)[0])


def test_a_head_of_another_size_is_named() -> None:
    prediction, labels = random_batch(31, [1], "softmax")
    with pytest.raises(ModelError, match="5 columns; sigmoid scores of 4 classes need 4"):
        Criterion(CLASSES, LossSpec(), "sigmoid")(prediction, labels)


def test_a_classification_that_does_not_fit_the_scores() -> None:
    with pytest.raises(PlanError, match="softmax scores is trained with cross_entropy, not with focal"):
        Criterion(CLASSES, LossSpec(classification="focal"), "softmax")
    Criterion(CLASSES, LossSpec(classification="focal"), "sigmoid")
