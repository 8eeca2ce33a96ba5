"""Every family, tiny: captured, planned, trained, saved, loaded and copied, as docs/coverage.md has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
from torch import nn

from benchmarks.coverage import CLASSES, Row, measure
from qrecipe.models.families import FAMILIES, build_family
from qrecipe.recipe.definition import LossSpec
from tests.specimens import ALIGN, TARGETS, W4A4, a_recipe
from tests.tiny_detectors import (
    SWIN,
    tiny_conditional_detr,
    tiny_d_fine,
    tiny_dab_detr,
    tiny_deformable_detr,
    tiny_grounding_dino,
    tiny_lw_detr,
    tiny_rf_detr,
    tiny_rt_detr,
    tiny_rt_detr_v2,
    tiny_table_transformer,
    tiny_yolos,
)

TINY: dict[str, Callable[[], nn.Module]] = {
    "conditional_detr": partial(tiny_conditional_detr, CLASSES),
    "dab-detr": partial(tiny_dab_detr, CLASSES),
    "table-transformer": partial(tiny_table_transformer, CLASSES),
    "deformable_detr": partial(tiny_deformable_detr, CLASSES, with_box_refine=True, two_stage=True),
    "yolos": partial(tiny_yolos, CLASSES),
    "rt_detr": partial(tiny_rt_detr, CLASSES),
    "rt_detr_v2": partial(tiny_rt_detr_v2, CLASSES),
    "d_fine": partial(tiny_d_fine, CLASSES),
    "lw_detr": partial(tiny_lw_detr, CLASSES),
    "rf_detr": partial(tiny_rf_detr, CLASSES),
    "grounding-dino": partial(
        tiny_grounding_dino,
        backbone_config=SWIN,
        num_feature_levels=2,
        prompt_ids=[101, *(token for number in range(CLASSES) for token in (300 + number, 1012)), 102],
    ),
}
ELSEWHERE = {"detr", "deimv2", "demo", "generic"}
"""Families whose captures other tests have: tests/specimens.py."""
DECODER = {"decoder.self_attention", "decoder.cross_attention", "decoder.feed_forward"}
WITHOUT_DECODER = {"yolos"}


@cache
def row(family: str) -> Row:
    model = TINY[family]()
    reads = build_family(model, LossSpec(), family)
    queries = family not in WITHOUT_DECODER
    recipe = a_recipe(
        {**W4A4, "rules": [{"match": "role:head", "keep": "float"}]},
        align=ALIGN if queries else (),
        targets=TARGETS if queries else (),
    )
    return measure(family, model, reads, recipe, (2, 128, 160), shapes=((1, 160, 128), (3, 136, 170)))


def test_every_family_is_tried() -> None:
    assert {*TINY, *ELSEWHERE} == set(FAMILIES)


@pytest.mark.parametrize("family", TINY)
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
