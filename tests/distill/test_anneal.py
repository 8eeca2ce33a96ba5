"""Weights that go to zero, and maps that are compared as wholes."""

from __future__ import annotations

import math

import pytest
import torch

from qrecipe.distill import LOSSES, distill_loss, query_features, remaining, whole_images
from qrecipe.distill.anneal import ANNEALS
from qrecipe.recipe import schema
from qrecipe.recipe.distill_table import losses_of


def test_shares() -> None:
    assert schema()["$defs"]["target"]["properties"]["anneal"]["enum"] == [*ANNEALS, None]
    for step in range(11):
        assert remaining(None, step / 10) == 1
        assert remaining("linear", step / 10) == pytest.approx(1 - step / 10)
        assert remaining("cosine", step / 10) == pytest.approx(math.cos(math.pi * step / 20) ** 2)


@pytest.mark.parametrize("name", losses_of("maps"))
def test_a_map_is_one_vector_of_its_image(name: str) -> None:
    student, teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    own, wanted = (query_features(value, "map") for value in (student, teacher))
    total, count = distill_loss(own, wanted, whole_images(student), name)
    expected = 0.0
    for image in range(2):
        s, t = student[image].flatten().tolist(), teacher[image].flatten().tolist()
        square = sum((a - b) ** 2 for a, b in zip(s, t, strict=True))
        product = sum(a * b for a, b in zip(s, t, strict=True))
        expected += {
            "relative": square / sum(b * b for b in t),
            "mse": square / len(t),
            "cosine": 1 - product / math.hypot(*s) / math.hypot(*t),
        }[name]
    assert total.item() == pytest.approx(expected)
    assert count == 2
    assert "maps" in LOSSES[name].compares
