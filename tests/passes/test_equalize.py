"""Equalized and smoothed models compute what they did, outputs and gradients; ranges are the papers'."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from qrecipe.graph.graph_model import GraphModel
from qrecipe.planning import describe
from qrecipe.reconstruct.weights import weight_behind
from qrecipe.student import Student, calibrate, compile
from tests.specimens import W4A4, Specimen, a_recipe
from tests.toys import captured_toy, picture, rewritten

EQUALIZED = {**W4A4, "equalize": True, "smooth": 0.5}
RTOL = 1e-9


class Stack(nn.Sequential):
    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = super().forward(pixel_values)
        return out


def depthwise() -> nn.Module:
    return Stack(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.Conv2d(12, 4, 1),
    )  # fmt: skip


class Tokens(nn.Module):
    """A LayerNorm before two linear layers, one of them the first of a chain; and one that a sum reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 6)
        self.norm, self.fc1, self.fc2, self.gate = nn.LayerNorm(6), nn.Linear(6, 10), nn.Linear(10, 6), nn.Linear(6, 6)
        self.last_norm, self.head = nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values.flatten(2).transpose(1, 2))
        normed = self.norm(x)
        x = x + self.fc2(torch.relu(self.fc1(normed))) * self.gate(normed[:, :, :]).sigmoid()
        last = self.last_norm(x)
        out: Tensor = self.head(last) + last[..., :2]
        return out


class Tied(nn.Module):
    """The second of two chains reads the weight of the first, and one is read by a third operation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.d.weight = self.b.weight

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(pixel_values).relu()) + self.d(self.c(pixel_values).sigmoid())
        return out


def uneven(model: nn.Module, seed: int) -> nn.Module:
    """Channels of very different scales, and running statistics that are not those of a fresh norm."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator).exp().mul(0.5 + value.abs()))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            signs = torch.rand(module.weight.shape, generator=generator) < 0.5
            module.weight.data[signs] *= -1
    return model.double().eval()


MODELS: dict[str, Callable[[], nn.Module]] = {"depthwise": depthwise, "tokens": Tokens, "tied": Tied}


@cache
def captured(name: str) -> Any:
    return captured_toy(uneven(MODELS[name](), 0))


def ran(model: GraphModel, seed: int) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of the input."""
    pixels = picture(seed=seed)["pixel_values"].requires_grad_()
    out = model.eval().run({"pixel_values": pixels}).outputs
    (gradient,) = torch.autograd.grad(
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum(), pixels
    )
    return out.detach(), gradient


@settings(max_examples=12)
@given(name=st.sampled_from(["depthwise", "tokens"]), seed=st.integers(0, 10_000))
def test_equalizing_changes_neither_outputs_nor_gradients(name: str, seed: int) -> None:
    original = captured(name).copy()
    uneven(original.root, seed)
    before = ran(GraphModel(original.copy().root, original.copy().programs), seed)
    model, plan, reports = rewritten(original, a_recipe({**W4A4, "equalize": True}))
    assert reports["equalize"].done == len(plan.equalized) > 0
    for one, other in zip(ran(model, seed), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * float(other.abs().max()))


def test_both_ends_of_a_chain_have_the_same_range() -> None:
    """Equation 11, on the weights as they are quantized: the BatchNorms folded; the depthwise one is in the middle."""
    model, plan, _ = rewritten(captured("depthwise"), a_recipe({**W4A4, "equalize": True}))
    assert [(chain.source, [reader.weight for reader in chain.readers]) for chain in plan.equalized] == [
        ("0.weight", ["3.weight"]),
        ("3.weight", ["7.weight"]),
        ("7.weight", ["8.weight"]),
    ]

    def folded(index: int) -> Tensor:
        weight = model.get_parameter(f"{index}.weight").detach()
        if index < 7:
            norm = model.get_submodule(str(index + 1))
            weight = weight * (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()[:, None, None, None]
        return weight.abs()

    expected = {0: folded(0).amax((1, 2, 3)), 3: folded(3).amax((1, 2, 3)), 7: folded(7).amax((1, 2, 3))}
    grouped = folded(7).reshape(4, 3, 2, 3, 3).amax((1, 3, 4)).flatten()
    read = {0: folded(3).amax((1, 2, 3)), 3: grouped, 7: folded(8).amax((0, 2, 3))}
    for index, own in expected.items():
        torch.testing.assert_close(own, read[index], rtol=5e-3, atol=0)


def test_what_is_tied_or_read_elsewhere_is_left_alone() -> None:
    original = captured("tied")
    model, plan, _ = rewritten(original, a_recipe({**W4A4, "equalize": True}))
    assert plan.equalized == ()
    assert torch.equal(model.get_parameter("a.weight"), original.root.get_parameter("a.weight"))


def test_nothing_is_scaled_where_nothing_is_quantized() -> None:
    rules = [{"match": "role:*", "keep": "float"}]
    _, plan, _ = rewritten(captured("depthwise"), a_recipe({**EQUALIZED, "rules": rules}))
    assert plan.equalized == plan.smoothed == ()


def outputs(student: Student, specimen: Specimen) -> tuple[Tensor, Tensor, Tensor]:
    batch = specimen.batch((2, 1), seed=7)
    pixels = batch.pixel_values.clone().requires_grad_()
    found = student.eval().predict(pixels, batch.pixel_mask)
    (gradient,) = torch.autograd.grad(found.logits.sin().sum() + found.boxes.square().sum(), pixels)
    return found.logits.detach(), found.boxes.detach(), gradient


def test_whole_detectors_compute_what_they_did(specimen: Specimen) -> None:
    """Equalized when made, smoothed in calibration; quantizers off. Training as evaluation."""
    recipe = a_recipe(EQUALIZED)
    student, plain = specimen.student(recipe), specimen.student(a_recipe(W4A4))
    assert student.plan.equalized
    assert describe(student.plan)["equalized"][0]["readers"]
    calibrate(student, [specimen.batch((2,))])
    for model in (student, plain):
        model.switch_off()
    for one, other in zip(outputs(student, specimen), outputs(plain, specimen), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8 * max(1.0, float(other.abs().max())))


def test_learned_rounding_still_finds_every_weight(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(EQUALIZED))
    for node in student.deployable().graph.nodes:
        if node.op == "call_module" and str(node.target).endswith(".weight") and "fake_quant" in str(node.target):
            assert weight_behind(student, node.all_input_nodes[0]) is not None, node.target


class TokenDetector(nn.Module):
    """Tokens with a class head and a box head, read as DETR's."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.boxes = Tokens(), nn.Linear(2, 4)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        states = self.tokens(pixel_values)
        return {"logits": states, "pred_boxes": self.boxes(states).sigmoid()}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_smoothing_is_the_paper_s(alpha: float) -> None:
    torch.manual_seed(0)
    model = uneven(TokenDetector(), 3)
    quantize = {key: {**value, "init": "mse"} for key, value in W4A4.items()}  # the widest range of -1 .. 1 is a tie
    student = compile(model, a_recipe({**quantize, "smooth": alpha}), picture()["pixel_values"])
    assert [chain.source for chain in student.plan.smoothed] == ["tokens.norm.weight"]  # the other one is added as well
    pixels = picture(seed=4)["pixel_values"]
    seen: list[Tensor] = []
    hook = model.tokens.norm.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    expected = model(pixels)["logits"].detach()
    hook.remove()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    specimen = Specimen(model, student.family, None, ())  # type: ignore[arg-type]
    batch = specimen.batch((1, 1), height=16, width=24)
    batch = type(batch)(pixels, batch.pixel_mask, batch.labels, batch.image_ids, batch.sizes)
    calibrate(student, [batch])
    largest = seen[0].abs().amax((0, 1))
    weights = torch.cat([before["tokens.fc1.weight"], before["tokens.gate.weight"]]).abs().amax(0)
    scale = largest**alpha / weights ** (1 - alpha)
    torch.testing.assert_close(
        student.get_parameter("tokens.norm.weight").detach(), before["tokens.norm.weight"] / scale
    )
    torch.testing.assert_close(student.get_parameter("tokens.norm.bias").detach(), before["tokens.norm.bias"] / scale)
    torch.testing.assert_close(student.get_parameter("tokens.fc1.weight").detach(), before["tokens.fc1.weight"] * scale)
    first = {name: value.clone() for name, value in student.state_dict().items()}
    calibrate(student, [batch])  # it is smooth already
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=1e-6, atol=1e-9, equal_nan=True)
    student.switch_off()
    torch.testing.assert_close(
        student.eval()(pixels)["logits"], expected, rtol=RTOL, atol=1e-9 * float(expected.abs().max())
    )
    assert math.isfinite(float(scale.sum()))
