from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from qrecipe.data.labels import LabelMap
from qrecipe.errors import EvaluateError
from qrecipe.evaluation import detections

# Four classes, of which 1 has no category.
SPARSE = LabelMap({5: 0, 90: 2, 7: 3}, {5: "cat", 90: "owl", 7: "dog"}, classes=4)


@dataclass(frozen=True)
class Outputs:
    logits: Tensor
    boxes: Tensor


def random_outputs(classes: int, seed: int = 0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    return Outputs(torch.randn(2, 6, classes, generator=generator), torch.rand(2, 6, 4, generator=generator))


SIZES = torch.tensor([[100, 200], [50, 30]])


def test_softmax_in_loops() -> None:
    outputs = random_outputs(5)
    found = detections(outputs, image_ids=[8, 9], sizes=SIZES, label_map=SPARSE, scores="softmax", top_k=1)
    assert len(found) == 12
    for row, image_id in enumerate([8, 9]):
        expected = []
        for query in range(6):
            powers = [math.exp(v) for v in outputs.logits[row, query].tolist()]
            score, category = max((powers[c] / sum(powers), k) for k, c in SPARSE.category_to_class.items())
            cx, cy, w, h = outputs.boxes[row, query].tolist()
            height, width = SIZES[row].tolist()
            expected.append((score, category, [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]))
        expected.sort(key=lambda entry: -entry[0])
        for entry, (score, category, box) in zip(
            [e for e in found if e["image_id"] == image_id], expected, strict=True
        ):
            assert entry["score"] == pytest.approx(score, rel=1e-5)
            assert entry["category_id"] == category
            assert entry["bbox"] == pytest.approx(box, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("top_k", [4, 18, 100])
def test_sigmoid_in_loops(top_k: int) -> None:
    outputs = random_outputs(4, seed=1)
    found = detections(outputs, image_ids=[8, 9], sizes=SIZES, label_map=SPARSE, scores="sigmoid", top_k=top_k)
    for row, image_id in enumerate([8, 9]):
        pairs = sorted(
            (
                (1 / (1 + math.exp(-float(outputs.logits[row, query, c]))), k, query)
                for query in range(6)
                for k, c in SPARSE.category_to_class.items()
            ),
            reverse=True,
        )[:top_k]
        mine = [entry for entry in found if entry["image_id"] == image_id]
        assert [entry["category_id"] for entry in mine] == [k for _, k, _ in pairs]
        assert [entry["score"] for entry in mine] == pytest.approx([score for score, _, _ in pairs], rel=1e-5)
        widths = [float(outputs.boxes[row, query, 2]) * int(SIZES[row, 1]) for _, _, query in pairs]
        assert [entry["bbox"][2] for entry in mine] == pytest.approx(widths, rel=1e-5)


def test_plain_numbers_and_no_clipping() -> None:
    outputs = Outputs(torch.zeros(1, 1, 4), torch.tensor([[[0.0, 0.5, 1.0, 2.0]]]))
    found = detections(outputs, image_ids=[1], sizes=SIZES[:1], label_map=SPARSE, scores="sigmoid")[0]
    assert type(found["category_id"]) is int
    assert type(found["score"]) is float
    assert found["bbox"] == [-100.0, -50.0, 200.0, 200.0]


def test_half_precision_and_gradients_are_no_obstacle() -> None:
    outputs = random_outputs(4)
    half = Outputs(outputs.logits.bfloat16().requires_grad_(), outputs.boxes.bfloat16())
    assert len(detections(half, image_ids=[1, 2], sizes=SIZES, label_map=SPARSE, scores="sigmoid")) == 36


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("part", ["logits", "boxes"])
def test_values_that_are_not_finite_name_their_image(scores: str, part: str) -> None:
    outputs = random_outputs(5 if scores == "softmax" else 4)
    getattr(outputs, part)[1, 3, 0] = float("nan")
    with pytest.raises(EvaluateError, match="not finite for image 9"):
        detections(outputs, image_ids=[8, 9], sizes=SIZES, label_map=SPARSE, scores=scores)  # type: ignore[arg-type]


def test_a_head_of_another_size() -> None:
    with pytest.raises(EvaluateError, match="has 5"):
        detections(random_outputs(4), image_ids=[8, 9], sizes=SIZES, label_map=SPARSE, scores="softmax")
