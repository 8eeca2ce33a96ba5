"""Every family, tiny: captured, planned, trained, saved, loaded and copied, as docs/coverage.md has it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from benchmarks.coverage import CLASSES, Row, measure
from qrecipe.models.families import build_family
from qrecipe.recipe.definition import LossSpec
from tests.specimens import ALIGN, TARGETS, W4A4, a_recipe
from tests.tiny_detectors import SWIN, TINY

VARIED: dict[str, dict[str, Any]] = {
    "deformable_detr": {"labels": CLASSES, "with_box_refine": True, "two_stage": True},
    "grounding-dino": {
        "backbone_config": SWIN,
        "num_feature_levels": 2,
        "prompt_ids": [101, *(token for number in range(CLASSES) for token in (300 + number, 1012)), 102],
    },
}
"""What differs from the tiny detector of other tests."""
ELSEWHERE = {"detr", "deimv2", "demo"}
"""Families whose captures other tests have: tests/specimens.py."""
DECODER = {"decoder.self_attention", "decoder.cross_attention", "decoder.feed_forward"}
WITHOUT_DECODER = {"yolos"}


@cache
def row(family: str) -> Row:
    model = TINY[family](**VARIED.get(family, {"labels": CLASSES}))
    reads = build_family(model, LossSpec(), family)
    queries = family not in WITHOUT_DECODER
    recipe = a_recipe(
        {**W4A4, "rules": [{"match": "role:head", "keep": "float"}]},
        align=ALIGN if queries else (),
        targets=TARGETS if queries else (),
    )
    return measure(family, model, reads, recipe, (2, 128, 160), shapes=((1, 160, 128), (3, 136, 170)))


@pytest.mark.parametrize("family", [name for name in TINY if name not in ELSEWHERE])
def test_a_family(family: str) -> None:
    """One test per family: its capture is the slow part."""
    found = row(family)
    compared = [pair for pair in found.differences.values() if pair is not None]
    assert len(compared) >= 2
    outputs, gradients = (1e-9, 1e-7) if found.dtype == "float64" else (1e-4, 1e-2)
    assert max(value for value, _ in compared) < outputs
    assert max(value for _, value in compared) < gradients
    assert found.covered >= 0.99
    assert "backbone.stem" in found.roles
    assert {"head.class", "head.box"} <= set(found.roles)
    assert (set(found.roles) >= DECODER) is (family not in WITHOUT_DECODER)
    assert ({"encoder.text", "decoder.text_attention"} <= set(found.roles)) is (family == "grounding-dino")
    assert found.aligned == found.layers == (0 if family in WITHOUT_DECODER else found.aligned)
    assert bool(found.aligned) is (family not in WITHOUT_DECODER)
    assert all(0 < loss < float("inf") for loss in found.losses)
    # A first layer that reads zeros, and inputs that only a top-k reads, have none: docs/coverage.md names them.
    assert found.scales[0] >= 0.9 * found.scales[1]
    assert found.reloaded == found.copied == 0.0
    assert all(found.targets.values())
    assert bool(found.targets) is (family not in WITHOUT_DECODER)
