"""A quantizer stored, copied and calibrated again."""

from __future__ import annotations

import copy

import pytest
import torch

from qrecipe.errors import CalibrationError
from tests.quantizers.tiny_quantizers import activation, calibrate


def test_state_dict_round_trip() -> None:
    x = torch.randn(2, 4, 9, 8)
    quantizer = calibrate(activation(heads=4), x)
    state = quantizer.state_dict()
    assert set(state) == {"scale", "offset", "count", "calibrated"}
    other = activation(heads=4)
    other.load_state_dict(state, strict=True)
    other.set_mode("on")
    x.requires_grad_()
    for one in (quantizer, other):
        one(x).square().sum().backward()
    assert torch.equal(other(x), quantizer(x))
    assert other.scale.grad is not None
    assert quantizer.scale.grad is not None
    assert torch.equal(other.scale.grad, quantizer.scale.grad)


def test_an_uncalibrated_state_stays_uncalibrated() -> None:
    quantizer = calibrate(activation(), torch.randn(2, 9))
    quantizer.load_state_dict(activation().state_dict())
    with pytest.raises(CalibrationError):
        quantizer(torch.randn(2, 9))


def test_deep_copies_are_apart() -> None:
    x = torch.randn(2, 40)
    quantizer = calibrate(activation(), x)
    before = quantizer(x)
    twin = copy.deepcopy(quantizer)
    with torch.no_grad():
        twin.scale.mul_(2)
    assert torch.equal(quantizer(x), before)
    assert not torch.equal(twin(x), before)
    watching = activation()
    watching.set_mode("observe")
    watching(x)
    twin = copy.deepcopy(watching)
    twin(x * 100)
    twin.finish_calibration()
    watching.finish_calibration()
    assert twin.scale > 10 * watching.scale


def test_calibrating_again_starts_afresh() -> None:
    quantizer = calibrate(activation("minmax"), torch.randn(2, 40) * 100)
    wide = quantizer.scale.item()
    calibrate(quantizer, torch.randn(2, 40))
    assert quantizer.scale.item() < wide / 10
