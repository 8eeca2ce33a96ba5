"""Folded convolutions are the model's own, outputs and gradients, frozen and live; what must not be folded is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.passes.fold_batch_norm import SMALLEST_FACTOR, fold_weight, frozen_norm, live_factor, unscale
from qrecipe.passes.norms import norm_factor
from qrecipe.student import Student
from tests.specimens import W4A4, Specimen, a_recipe, prepared
from tests.toys import captured_toy, picture, rewritten

RTOL = 1e-9


class FrozenNorm(nn.Module):
    """As detectors write it by hand; its eps stands in the code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (
            getattr(self, name).reshape(1, -1, 1, 1) for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight * (variance + 3e-4).rsqrt()
        return x * scale + (bias - mean * scale)


class Chain(nn.Sequential):
    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = super().forward(pixel_values)
        return out


class Lines(nn.Module):
    """One-dimensional: a convolution and BatchNorm over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(pixel_values.flatten(2)))
        return out


class TwoReaders(nn.Module):
    """The convolution's output is read beside the BatchNorm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.conv(pixel_values)
        out: Tensor = self.norm(x) * x
        return out


class CalledTwice(nn.Module):
    """One convolution and one BatchNorm, run at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(pixel_values, 2)
        return self.norm(self.conv(pixel_values)).mean() * self.norm(self.conv(small))


class SharedByLevels(nn.Module):
    """One convolution, and a BatchNorm for each level: folded, the one weight would be two."""

    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 4, 3), nn.ModuleList([nn.BatchNorm2d(4), second])

    def forward(self, pixel_values: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(pixel_values, 2)
        return self.norms[0](self.conv(pixel_values)).mean() * self.norms[1](self.conv(small))


# How to build it, and how many of its BatchNorms can be folded.
MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "plain": (lambda: Chain(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, eps=1e-3)), 1),
    "with bias": (lambda: Chain(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU()), 1),
    "without affine": (lambda: Chain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False)), 1),
    "grouped": (lambda: Chain(nn.Conv2d(3, 6, 3, groups=3, dilation=2), nn.BatchNorm2d(6)), 1),
    "padding by name": (lambda: Chain(nn.Conv2d(3, 6, (3, 2), padding="same"), nn.BatchNorm2d(6)), 1),
    "frozen by hand": (lambda: Chain(nn.Conv2d(3, 6, 3, bias=False), FrozenNorm(6), nn.ReLU()), 1),
    "one dimension": (Lines, 1),
    "transposed": (lambda: Chain(nn.ConvTranspose2d(3, 6, 2, stride=2), nn.BatchNorm2d(6)), 1),
    "transposed in groups": (lambda: Chain(nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), nn.BatchNorm2d(6)), 0),
    "called twice": (CalledTwice, 2),
    "two readers": (TwoReaders, 0),
    "norms of two levels": (lambda: SharedByLevels(nn.BatchNorm2d(4)), 0),
    "a level without a norm": (lambda: SharedByLevels(nn.ReLU()), 0),
    "no convolution": (lambda: Chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), 0),
    "after an activation": (lambda: Chain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 0),
}


def built(name: str) -> nn.Module:
    torch.manual_seed(1)
    model = prepared(MODELS[name][0]())
    if name == "frozen by hand":
        for buffer in ("weight", "bias"):
            getattr(model[1], buffer).add_(torch.rand(6))  # type: ignore[index]
    return model


@cache
def captured(name: str) -> Captured:
    return captured_toy(built(name))


def folded(source: Captured, batch_norm: str, quantize: bool = True) -> tuple[GraphModel, int]:
    """With quantizers that are off, and how many were folded, over both graphs."""
    recipe = a_recipe({**(W4A4 if quantize else {}), "batch_norm": batch_norm})
    graph, _, reports = rewritten(source, recipe)
    return graph, reports["fold_batch_norm"].done


def gradients(out: Tensor, module: nn.Module) -> dict[str, Tensor | None]:
    weights = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype).reshape(out.shape)
    module.zero_grad()
    (out * weights).square().sum().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters() if "fake_quant" not in name}


def assert_same(graph: GraphModel, model: nn.Module, inputs: dict[str, Tensor]) -> None:
    mine, theirs = graph.run(inputs).outputs, model(**inputs)
    torch.testing.assert_close(mine, theirs, rtol=RTOL, atol=RTOL)
    own, other = gradients(mine, graph), gradients(theirs, model)
    for name, gradient in other.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-8, atol=1e-8)
    known = dict(graph.named_buffers())
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(known[name], buffer, rtol=RTOL, atol=RTOL)


@pytest.mark.parametrize("name", list(MODELS))
def test_frozen_is_the_model_with_running_statistics_in_both_modes(name: str) -> None:
    model = built(name)
    graph, count = folded(captured(name), "frozen", quantize=False)
    assert count == 2 * MODELS[name][1]
    before = copy.deepcopy(dict(model.named_buffers()))
    for training in (True, False):
        assert_same(graph.train(training), model.eval(), picture(3, 9, 11))
    for key, value in graph.named_buffers():
        assert torch.equal(value, before[key])
    for program in graph.edited.programs.values():
        assert not [
            node for node in program.graph.nodes if node.op == "call_module" and str(node.target) in ("1", "norm")
        ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", list(MODELS))
def test_live_is_the_model_itself(name: str, training: bool) -> None:
    """In training with batch statistics, and the buffers move as the model's own, once."""
    model = built(name)
    graph, count = folded(captured(name), "live")
    assert count == 2 * MODELS[name][1]
    assert_same(graph.train(training), model.train(training), picture(3, 9, 11))
    assert_same(graph, model, picture(2, 8, 10, seed=1))


def test_live_leaves_alone_what_is_not_quantized() -> None:
    model = built("with bias")
    graph, count = folded(captured("with bias"), "live", quantize=False)
    assert count == 0
    assert_same(graph.train(), model.train(), picture(3, 9, 11))


def test_the_last_counts_are_kept_by_batch_norm() -> None:
    graph, _ = folded(captured("plain"), "live")
    norm = graph.get_submodule("1")
    for _ in range(2):
        graph.train().run(picture(2, 9, 9))
    graph.eval().run(picture(2, 9, 9))
    assert int(norm.num_batches_tracked) == 2


def test_a_gamma_of_zero_goes_on_learning() -> None:
    model = built("plain")
    with torch.no_grad():
        model[1].weight[:3] = 0  # type: ignore[index]
        model[1].weight[3] = -1e-7  # type: ignore[index]
    graph, _ = folded(captured_toy(model), "live")
    assert_same(graph.train(), model.train(), picture(3, 9, 11))
    assert (graph.get_submodule("1").weight.grad[:3] != 0).all()


def test_the_weight_is_quantized_as_folded_and_kept_as_it_was() -> None:
    model = built("with bias")
    graph, _ = folded(captured("with bias"), "frozen")
    quantizer = graph.get_submodule("fake_quantizers.0.weight")
    seen = []
    quantizer.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    graph.eval().run(picture())
    norm, conv = model[1], model[0]  # type: ignore[index]
    expected = conv.weight * (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None, None]
    torch.testing.assert_close(seen[0], expected, rtol=1e-12, atol=0)
    assert torch.equal(graph.get_parameter("0.weight"), conv.weight)
    assert list(model.state_dict()) == [key for key in graph.state_dict() if "fake_quant" not in key]


def frozen(model: nn.Module, training: bool) -> nn.Module:
    model.train(training)
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
    return model


@pytest.mark.parametrize("training", [True, False])
def test_a_student_with_everything_off_is_the_model(specimen: Specimen, training: bool) -> None:
    """Decomposed, folded, quantizers inserted and off: outputs and every gradient in float64, dropout included."""
    student: Student = specimen.student(a_recipe(W4A4)).train(training)
    student.switch_off()
    model = frozen(specimen.eager(), training)
    inputs = specimen.inputs(3, 32, 160)
    results = []
    for module, run in (
        (student, lambda: student.run(inputs)[:2]),
        (model, lambda: specimen.family.forward(model, inputs)),
    ):
        torch.manual_seed(4)
        outputs, extras = run()
        prediction = specimen.family.read(outputs, extras)
        flat = [prediction.logits, prediction.boxes, *(value for pair in prediction.auxiliary for value in pair)]
        torch.stack([value.square().mean() for value in flat]).sum().backward()
        results.append((flat, {name: value.grad for name, value in module.named_parameters()}))
    (mine, own), (theirs, other) = results
    assert len(mine) == len(theirs) >= (4 if training else 2)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    for name, gradient in other.items():
        if gradient is None:
            assert own[name] is None or not own[name].any()
        else:
            torch.testing.assert_close(own[name], gradient, rtol=1e-7, atol=1e-9)


def test_live_students_update_their_statistics_once(demo: Specimen) -> None:
    student = demo.student(a_recipe({**W4A4, "batch_norm": "live"})).train()
    student.switch_off()
    model = demo.eager().train()
    inputs = demo.inputs(3, 40, 48)
    torch.manual_seed(0)
    mine = student.run(inputs).outputs["logits"]
    torch.manual_seed(0)
    torch.testing.assert_close(mine, model(**inputs)["logits"], rtol=0, atol=1e-9)
    known = dict(student.named_buffers())
    for name, value in model.named_buffers():
        torch.testing.assert_close(known[name], value, rtol=1e-9, atol=1e-9)
        if name.endswith("num_batches_tracked"):
            assert int(known[name]) == 1


@settings(max_examples=30)
@given(st.lists(st.floats(-2, 2), min_size=2, max_size=5), st.booleans())
def test_scaling_back_is_the_inverse(gamma: list[float], bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(len(gamma), 3, 2, 2, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64)
    shift = torch.randn(len(gamma), generator=generator, dtype=torch.float64) if bias else None
    factor = live_factor(norm_factor(torch.tensor(gamma, dtype=torch.float64), torch.ones(len(gamma)).double(), 1e-5))
    assert (factor.abs() >= SMALLEST_FACTOR).all()
    out = unscale(nn.functional.conv2d(x, fold_weight(weight, factor, 0)), factor, shift)
    torch.testing.assert_close(out, nn.functional.conv2d(x, weight, shift), rtol=1e-9, atol=1e-9)


def test_a_frozen_norm_ignores_the_mode() -> None:
    norm = nn.BatchNorm2d(3).double().eval()
    norm.running_mean += 1
    x = picture()["pixel_values"]
    found = frozen_norm(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
    assert torch.equal(found, norm(x))
