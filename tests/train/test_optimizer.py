from __future__ import annotations

import pytest
import torch
from torch import nn

from qrecipe.errors import TrainError
from qrecipe.recipe.definition import OptimizerSpec
from qrecipe.train.optimizer import build_optimizer


def parameters() -> dict[str, nn.Parameter]:
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.conv.weight": (4, 3, 3, 3),
        "backbone.bn.weight": (4,),
        "fake_quantizers.backbone_conv.scale": (4, 1, 1, 1),
        "fake_quantizers.act.scale": (),
        "alignments.q.gamma": (2, 4),
        "decoder.linear.weight": (4, 4),
        "decoder.linear.bias": (4,),
        "query": (5, 4),
        "frozen": (2, 2),
    }
    made = {name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
    made["frozen"].requires_grad_(False)
    return made


def backbone(name: str) -> bool:
    return "backbone" in name


def test_every_parameter_goes_where_it_belongs() -> None:
    spec = OptimizerSpec(lr=1.0, weight_decay=0.5, lr_backbone=0.1, lr_quantizer=0.01)
    optimizer, table = build_optimizer(parameters().items(), spec, backbone)
    seen = {row.name: (row.names, row.lr, row.weight_decay, row.tensors, row.parameters) for row in table}
    assert seen == {
        "backbone": (("backbone.conv.weight",), 0.1, 0.5, 1, 108),
        "backbone, no decay": (("backbone.bn.weight",), 0.1, 0.0, 1, 4),
        "rest": (("decoder.linear.weight", "query"), 1.0, 0.5, 2, 36),
        "rest, no decay": (("decoder.linear.bias",), 1.0, 0.0, 1, 4),
        "alignment": (("alignments.q.gamma",), 1.0, 0.0, 1, 8),
        "quantizer": (("fake_quantizers.backbone_conv.scale", "fake_quantizers.act.scale"), 0.01, 0.0, 2, 5),
    }
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (row.name, row.lr, row.weight_decay) for row in table
    ]


def test_rates_default_to_lr_and_zero_is_a_rate() -> None:
    _, table = build_optimizer(parameters().items(), OptimizerSpec(lr=0.3, lr_backbone=0.0), backbone)
    assert {row.name: row.lr for row in table}["quantizer"] == 0.3
    assert {row.name: row.lr for row in table}["backbone"] == 0.0


def test_empty_groups_are_left_out() -> None:
    _, table = build_optimizer([("w", nn.Parameter(torch.zeros(2, 2)))], OptimizerSpec(), backbone)
    assert [row.name for row in table] == ["rest"]


def test_nothing_to_train() -> None:
    with pytest.raises(TrainError, match="nothing to train"):
        build_optimizer([("w", nn.Parameter(torch.zeros(2), requires_grad=False))], OptimizerSpec(), backbone)
