from __future__ import annotations

import pytest
import torch
from torch import nn

from qrecipe.distill import QueryAlignment
from qrecipe.errors import TrainError
from qrecipe.quantizers import PlainStep, QuantizedOperand, Quantizer, RelativeStep, Step, build
from qrecipe.recipe.definition import OptimizerSpec, QuantizerSpec
from qrecipe.train.optimizer import build_optimizer


def quantizer(kind: str = "lsq", size: int = 1) -> Quantizer:
    operand = QuantizedOperand("a site", (size, 3), 0 if size > 1 else None, size, is_weight=True, batched=False)
    return build(QuantizerSpec(4, kind, "tensor"), operand)


def student() -> nn.Module:
    """Its parts have names that say nothing: what they are decides."""
    whole = nn.Module()
    whole.backbone = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3, bias=False), "bn": nn.BatchNorm2d(4)})
    whole.backbone["bn"].bias.requires_grad_(False)
    whole.quantized = nn.ModuleDict({"backbone_conv": quantizer(size=4), "act": quantizer(), "mse": quantizer("mse")})
    whole.align = QueryAlignment("q", 2, 4, "head", "bhld")
    whole.decoder = nn.Linear(4, 4)
    whole.query = nn.Parameter(torch.zeros(5, 4))
    whole.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    return whole


Groups = dict[str, tuple[object, ...]]


def built(spec: OptimizerSpec, whole: nn.Module | None = None) -> tuple[torch.optim.AdamW, Groups]:
    whole = whole or student()
    optimizer, table = build_optimizer(whole.named_parameters(), spec, lambda name: "backbone" in name, whole.modules())
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (row.name, row.lr, row.weight_decay) for row in table
    ]
    return optimizer, {row.name: (row.names, row.lr, row.weight_decay, row.tensors, row.parameters) for row in table}


def test_every_parameter_goes_where_it_belongs() -> None:
    _, seen = built(OptimizerSpec(lr=1.0, weight_decay=0.5, lr_backbone=0.1, lr_quantizer=0.01))
    assert list(seen.items()) == [
        ("backbone", (("backbone.conv.weight",), 0.1, 0.5, 1, 108)),
        ("backbone, no decay", (("backbone.bn.weight",), 0.1, 0.0, 1, 4)),
        ("rest", (("query", "decoder.weight"), 1.0, 0.5, 2, 36)),
        ("rest, no decay", (("decoder.bias",), 1.0, 0.0, 1, 4)),
        ("alignment", (("align.gamma", "align.beta"), 1.0, 0.0, 2, 16)),
        ("quantizer", (("quantized.backbone_conv.scale", "quantized.act.scale"), 0.01, 0.0, 2, 5)),
    ]


def test_rates_default_to_lr_and_zero_is_a_rate() -> None:
    _, seen = built(OptimizerSpec(lr=0.3, lr_backbone=0.0))
    assert seen["quantizer"][1] == 0.3
    assert seen["backbone"][1] == 0.0


def test_a_quantizer_says_how_its_parameters_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the model's own rate too, never decayed, and in its coordinates."""
    whole = student()
    act = whole.quantized["act"]
    assert isinstance(act, Quantizer)
    act.rounding = nn.Parameter(torch.full((2, 3), 0.5))

    def steps() -> tuple[Step, ...]:
        return PlainStep(act.rounding, rate="model"), RelativeStep(act.scale)

    monkeypatch.setattr(act, "steps", steps)
    optimizer, seen = built(OptimizerSpec(lr=0.1, weight_decay=0.5, lr_quantizer=0.01), whole)
    assert seen["rest, no decay"][0] == ("quantized.act.rounding", "decoder.bias")
    with torch.no_grad():
        act.scale.fill_(3.0)
    act.rounding.grad, act.scale.grad = torch.ones(2, 3), torch.ones(1)
    optimizer.step()
    torch.testing.assert_close(act.rounding.detach(), torch.full((2, 3), 0.4))
    torch.testing.assert_close(act.scale.detach(), torch.tensor([3 * 0.99]))


def test_empty_groups_are_left_out() -> None:
    _, seen = built(OptimizerSpec(), nn.Linear(2, 2, bias=False))
    assert list(seen) == ["rest"]


def test_nothing_to_train() -> None:
    with pytest.raises(TrainError, match="nothing to train"):
        built(OptimizerSpec(), nn.Linear(2, 2).requires_grad_(False))


def test_one_call_steps_all_parameters() -> None:
    optimizer, _ = built(OptimizerSpec())
    assert all(group["fused"] for group in optimizer.param_groups)
    on_meta = student().to("meta")
    optimizer, _ = built(OptimizerSpec(), on_meta)  # a device without it
    assert not any(group["fused"] for group in optimizer.param_groups)
