"""Inputs and added parts follow a model's first floating-point parameter."""

from __future__ import annotations

import torch
from torch import nn

from qrecipe.placement import Placement, placement_of


def test_the_first_floating_point_parameter_decides() -> None:
    model = nn.Sequential(nn.Linear(2, 2).half(), nn.Linear(2, 2).double())
    model.register_parameter("counts", nn.Parameter(torch.zeros(2, dtype=torch.int32), requires_grad=False))
    assert next(model.parameters()).dtype == torch.int32
    assert placement_of(model) == Placement(torch.device("cpu"), torch.float16)
    assert placement_of(nn.Linear(2, 2, device="meta")).device == torch.device("meta")


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    assert placement_of(nn.ReLU()) == Placement(torch.device("cpu"), torch.float32)


def test_masks_and_labels_keep_their_type() -> None:
    placement = Placement(torch.device("meta"), torch.float64)
    assert placement.move(torch.zeros(2)).dtype == torch.float64
    mask = placement.move(torch.ones(2, dtype=torch.int64))
    assert (mask.device.type, mask.dtype) == ("meta", torch.int64)
