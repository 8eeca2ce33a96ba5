"""Predictions paired with objects as the loops pair them, by the costs of the recipe's loss."""

from __future__ import annotations

import pytest

from qrecipe.detection.matcher import Targets, hungarian_match
from qrecipe.detection.prediction import Scores
from qrecipe.recipe.definition import LossSpec
from tests.detection.slow_detection import BOTH, random_batch, slow_pairs


def test_matching_indices() -> None:
    prediction, labels = random_batch(37, [2, 0, 3], "softmax")
    targets = Targets.of(labels, like=prediction.boxes)
    assert targets.counts == (2, 0, 3)
    assert targets.boxes.shape == (3, 3, 4)
    pairs = hungarian_match(prediction.logits, prediction.boxes, targets, "softmax", LossSpec())
    assert pairs.image.tolist() == [0, 0, 2, 2, 2]
    for image, label in enumerate(labels):
        of_image = pairs.image == image
        found = dict(zip(pairs.object[of_image].tolist(), pairs.query[of_image].tolist(), strict=True))
        assert found == slow_pairs(prediction.logits[image], prediction.boxes[image], label, "softmax")


@pytest.mark.parametrize("scores", BOTH)
@pytest.mark.parametrize(
    "changes", [{"class_weight": 40.0}, {"l1": 0.0}, {"l1": 60.0}, {"giou": 0.0, "class_weight": 0.0}]
)
def test_a_pair_costs_what_its_loss_weighs(scores: Scores, changes: dict[str, float]) -> None:
    spec = LossSpec(**changes)  # type: ignore[arg-type]
    changed = False
    for seed in range(6):
        prediction, (label,) = random_batch(seed, [3], scores)
        pairs = hungarian_match(
            prediction.logits, prediction.boxes, Targets.of([label], like=prediction.boxes), scores, spec
        )
        found = dict(zip(pairs.object.tolist(), pairs.query.tolist(), strict=True))
        assert found == slow_pairs(prediction.logits[0], prediction.boxes[0], label, scores, spec)
        changed |= found != slow_pairs(prediction.logits[0], prediction.boxes[0], label, scores)
    assert changed
