"""Swin with open windows against transformers' own code: values and gradients, at sizes that fit and do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qrecipe.models.open_windows import STAND_INS, open_windows
from qrecipe.models.open_windows import SWIN as MODULE
from tests.tiny_configurations import SWIN
from tests.tiny_detectors import some_images, stir, tiny_detr


def backbone(**changes: object) -> Any:
    from transformers import SwinBackbone, SwinConfig

    given = {key: value for key, value in {**SWIN, **changes}.items() if key != "model_type"}
    torch.manual_seed(0)
    return stir(SwinBackbone(SwinConfig(**given)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("window", [4, 7])
@pytest.mark.parametrize("size", [(64, 64), (112, 56), (61, 97), (33, 130), (4, 9)])
def test_values_and_gradients_are_the_same(size: tuple[int, int], window: int, training: bool) -> None:
    model = backbone(window_size=window).train(training)
    found = []
    for stand_in in (False, True):
        model.zero_grad()
        torch.manual_seed(1)  # drop path
        images = some_images(2, *size).requires_grad_()
        if stand_in:
            with open_windows(model):
                maps = model(images).feature_maps
        else:
            maps = model(images).feature_maps
        sum(value.square().sum() for value in maps).backward()
        slopes = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        found.append((maps, images.grad, slopes))
    (own, own_slope, own_slopes), (mine, slope, slopes) = found
    for a, b in zip(mine, own, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(slope, own_slope, rtol=1e-4, atol=1e-4)
    assert slopes.keys() == own_slopes.keys()
    for name, value in slopes.items():
        torch.testing.assert_close(value, own_slopes[name], rtol=1e-3, atol=1e-3)


def methods() -> list[Any]:
    import importlib

    module = importlib.import_module(MODULE)
    return [getattr(getattr(module, kind), name) for kind, name, _ in STAND_INS]


def test_methods_come_back_and_other_models_touch_none() -> None:
    before = methods()
    with open_windows(tiny_detr()):
        assert methods() == before
    with open_windows(backbone()):
        assert methods() == [stand_in for _, _, stand_in in STAND_INS]
    assert methods() == before
    with pytest.raises(ZeroDivisionError), open_windows(backbone()):
        _ = 1 / 0
    assert methods() == before
