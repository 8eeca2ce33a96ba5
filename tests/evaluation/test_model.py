from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from qrecipe.data.batch import Batch
from qrecipe.data.labels import LabelMap
from qrecipe.data.truth import Truth
from qrecipe.errors import EvaluateError
from qrecipe.evaluation import evaluate_model
from tests.evaluation.truths import read_truth

LABELS = LabelMap({4: 0, 9: 1}, {4: "a", 9: "b"}, classes=2)
BOXES = {1: (4, [10.0, 20.0, 30.0, 40.0]), 2: (9, [0.0, 0.0, 50.0, 10.0]), 3: (4, [5.0, 5.0, 20.0, 20.0])}


@dataclass(frozen=True)
class Outputs:
    logits: Tensor
    boxes: Tensor


def batch(*ids: int) -> Batch:
    return Batch(
        pixel_values=torch.zeros(len(ids), 3, 4, 4),
        pixel_mask=None,
        labels=[{} for _ in ids],
        image_ids=list(ids),
        sizes=torch.tensor([[100, 80]] * len(ids)),
    )


def perfect(given: Batch) -> Outputs:
    """What a model that knows the answers says."""
    assert not torch.is_grad_enabled()
    logits = torch.full((len(given), 2, 2), -8.0)
    boxes = torch.full((len(given), 2, 4), 0.5)
    for row, image_id in enumerate(given.image_ids):
        category, (x, y, w, h) = BOXES[image_id]
        logits[row, 0, LABELS.category_to_class[category]] = 8.0
        boxes[row, 0] = torch.tensor([(x + w / 2) / 80, (y + h / 2) / 100, w / 80, h / 100])
    return Outputs(logits, boxes)


@pytest.fixture
def truths(tmp_path: Path) -> Truth:
    document = {
        "images": [{"id": key, "file_name": "x", "width": 80, "height": 100} for key in (1, 2, 3)],
        "annotations": [
            {"id": key, "image_id": key, "category_id": category, "bbox": box} for key, (category, box) in BOXES.items()
        ],
        "categories": [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    return read_truth(path)


def test_a_perfect_model(truths: Truth) -> None:
    calls: list[tuple[int, int]] = []
    evaluation, results = evaluate_model(
        perfect,
        [batch(1, 2), batch(3)],
        LABELS,
        "sigmoid",
        truths,
        lambda done, total: calls.append((done, total)),
    )
    assert pytest.approx(1.0) == evaluation.AP
    assert evaluation.per_class == {"a": pytest.approx(1.0), "b": pytest.approx(1.0)}
    assert len(results) == 12
    assert calls == [(1, 2), (2, 2)]


def test_only_the_images_of_the_loader_count(truths: Truth) -> None:
    evaluation, _ = evaluate_model(perfect, [batch(3)], LABELS, "sigmoid", truths)
    assert pytest.approx(1.0) == evaluation.AP
    assert evaluation.per_class["b"] is None


def test_an_image_that_comes_twice(truths: Truth) -> None:
    with pytest.raises(EvaluateError, match="image 1 came twice"):
        evaluate_model(perfect, [batch(1), batch(1)], LABELS, "sigmoid", truths)
