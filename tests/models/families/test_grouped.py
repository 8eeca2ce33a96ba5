"""LW-DETR and RF-DETR: groups of queries in training, images of any size, one graph for all sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from qrecipe.capture import capture
from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.models.families import Family, build_family
from qrecipe.models.families.grouped import GroupedFamily
from qrecipe.recipe.definition import LossSpec
from tests.models.families.eager import GROUPED, run
from tests.tiny_detectors import some_images, stir, tiny_lw_detr, tiny_rf_detr


@pytest.mark.parametrize("name", GROUPED)
class TestGrouped:
    def test_training_has_every_group_and_evaluation_the_first(self, name: str) -> None:
        model: Any = stir(GROUPED[name]()).train()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        family = build_family(model, LossSpec())
        images = some_images(2, 64, 64)
        trained = family.read(*run(family, model, images))
        evaluated = family.read(*run(family, model.eval(), images))
        assert trained.logits.shape == (2, 10, 3)
        assert evaluated.logits.shape == (2, 5, 3)
        assert evaluated.auxiliary == ()
        torch.testing.assert_close(trained.boxes[:, :5], evaluated.boxes)
        torch.testing.assert_close(trained.logits[:, :5], evaluated.logits)

    def test_any_size_is_padded_and_masked(self, name: str) -> None:
        model = GROUPED[name]()
        family = build_family(model, LossSpec())
        assert isinstance(family, GroupedFamily)
        assert family.stride == 32
        images = some_images(2, 40, 64)
        given = family.inputs(images, None)
        assert given["pixel_values"].shape == (2, 3, 64, 64)
        assert torch.equal(given["pixel_values"][:, :, :40], images)
        assert given["pixel_mask"].dtype == torch.int64
        assert given["pixel_mask"][:, :40].all()
        assert not given["pixel_mask"][:, 40:].any()
        mask = torch.ones(2, 40, 64, dtype=torch.int64)
        mask[0, :, 32:] = 0
        assert torch.equal(family.inputs(images, mask)["pixel_mask"][:, :40], mask)
        assert family.inputs(some_images(1, 64, 96), None)["pixel_values"].shape[-2:] == (64, 96)

    def test_hooks_are_gone_after_an_error(self, name: str) -> None:
        model: Any = GROUPED[name]().train()
        family = build_family(model, LossSpec())
        run(family, model, some_images(1, 64, 64))
        with pytest.raises(ValueError, match="channel"):
            run(family, model, torch.zeros(1, 4, 64, 64))
        heads = (model.class_embed, model.bbox_embed, model.model.decoder)
        assert not any(head._forward_hooks or head._forward_pre_hooks for head in heads)


def test_default_sizes_are_the_published_ones() -> None:
    lw_detr = build_family(tiny_lw_detr(), LossSpec()).default_input
    rf_detr = build_family(tiny_rf_detr(), LossSpec()).default_input
    assert (lw_detr.size, rf_detr.size) == ((640, 640), (64, 64))  # RF-DETR: the backbone's own image size
    assert lw_detr.mean == rf_detr.mean == (0.485, 0.456, 0.406)
    assert lw_detr.std == rf_detr.std == (0.229, 0.224, 0.225)


@pytest.fixture(scope="module", params=list(GROUPED))
def grouped(request: pytest.FixtureRequest) -> tuple[nn.Module, Family, Captured]:
    """Captured at an image that is not square, as a student is."""
    model = stir(GROUPED[request.param]())
    family = build_family(model, LossSpec())
    return model, family, capture(model, family.forward, family.inputs(some_images(2, 64, 96), None))


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (128, 128)])
def test_one_graph_serves_the_size_of_pre_training_and_others(
    grouped: tuple[nn.Module, Family, Captured], size: tuple[int, int]
) -> None:
    model, family, captured = grouped
    graph = GraphModel(captured.root, captured.programs)
    for training in (False, True):
        inputs = family.inputs(some_images(2, *size), None)
        mine = family.read(*graph.train(training).run(inputs)[:2])
        theirs = family.read(*family.forward(model.train(training), inputs))
        torch.testing.assert_close(mine.logits, theirs.logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(mine.boxes, theirs.boxes, rtol=0, atol=1e-5)
