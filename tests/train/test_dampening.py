"""The pull of weights towards their levels, against a loop over weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qrecipe.errors import RecipeErrors
from qrecipe.processes import Whole
from qrecipe.quantizers import QuantizedOperand, build
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import DampenSpec, QuantizerSpec
from qrecipe.train.dampening import dampening, weights_seen
from tests.specimens import W4A4, Specimen, a_recipe
from tests.train.distilled_pairs import pair

SCALES = [0.1, 0.25]


def slow(weight: Tensor, scales: list[float], low: int, high: int) -> tuple[float, Tensor]:
    """The sum, and its gradient: each weight's distance to the nearest level, none beyond the last."""
    total, slope = 0.0, torch.zeros_like(weight)
    for row, scale in enumerate(scales):
        for column, value in enumerate(weight[row].tolist()):
            level = min(max(round(value / scale), low), high) * scale
            clipped = min(max(value, low * scale), high * scale)
            total += (clipped - level) ** 2
            if clipped == value:
                slope[row, column] = 2 * (value - level)
    return total, slope


def test_it_is_the_distance_to_the_levels_of_weights_that_are_not_clipped() -> None:
    operand = QuantizedOperand("weight", (2, 40), 0, 2, is_weight=True, batched=False)
    quantizer = build(QuantizerSpec(3, "lsq", "channel"), operand)
    weight = torch.linspace(-0.7, 0.83, 80).reshape(40, 2).t().contiguous().requires_grad_()
    with torch.no_grad():
        quantizer.get_parameter("scale").copy_(torch.tensor(SCALES))
    quantizer.calibrated.fill_(True)
    quantizer.count.fill_(40)
    quantizer.read_buffers()
    with weights_seen({"weight": quantizer}) as seen:
        quantizer(weight)
        assert not seen  # while it is off, nothing is rounded
        quantizer.set_mode("on")
        quantizer(weight)
    quantizer(weight)
    assert len(seen) == 1
    value = dampening(seen)
    expected, slope = slow(weight.detach(), SCALES, -4, 3)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, slope, atol=1e-6, rtol=1e-5)
    assert quantizer.get_parameter("scale").grad is None
    assert dampening({}) == 0


def test_it_is_part_of_the_loss_and_rises(toy: Specimen) -> None:
    module = pair(toy, targets=()).eval()
    batch = toy.batch()
    plain = module(batch)[0]
    module.dampen = DampenSpec(3.0)
    for over, share in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
        module.set_progress(over)
        loss, parts = module(batch)
        with weights_seen(module.student.quantizers) as seen:
            module.student.run(toy.inputs(1, 16, 24), mode="train")
        torch.testing.assert_close(parts["dampening"].double(), (3.0 * share * dampening(seen)).detach().double())
        torch.testing.assert_close(loss, plain + parts["dampening"])
    assert parts["dampening"] > 0
    loss.backward()
    module.student.switch_off()
    assert module(batch)[1]["dampening"] == 0


def test_processes_without_images_leave_it_as_it_is(toy: Specimen) -> None:
    """Each pulls by its share of the step's images: the mean over three processes, one of them idle, is the pull."""
    module = pair(toy, targets=()).eval()
    module.dampen = DampenSpec(3.0)
    module.set_progress(1.0)
    whole = Whole((2, 1, 1), 3, 1.0)
    batches = [replace(toy.batch((2, 1)), whole=whole), replace(toy.batch((1,)), whole=whole)]
    idle = replace(toy.batch((1,)), whole=whole, idle=True)
    assert [batch.weight for batch in (*batches, idle)] == [2.0, 1.0, 0.0]
    pulls = [float(module(batch)[1]["dampening"]) for batch in batches]
    alone = float(module(toy.batch((2, 1, 1)))[1]["dampening"])
    assert sum(pulls) / 3 == pytest.approx(alone, rel=1e-5)


def test_a_recipe_asks_for_it() -> None:
    data = {"version": 1, "model": {"architecture": "demo"}, "train": {"epochs": 1, "dampen": {"weight": 0.01}}}
    assert recipe_from_mapping({**data, "quantize": W4A4}).train.dampen == DampenSpec(0.01)
    with pytest.raises(RecipeErrors, match=r"train.dampen: there are no quantized weights .*quantize.weight"):
        recipe_from_mapping(data)
    assert a_recipe().train.dampen is None
