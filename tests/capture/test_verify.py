"""A capture that froze something, or lost a gradient or a buffer, is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from qrecipe.capture import capture, verify
from qrecipe.errors import CaptureError
from qrecipe.graph.captured import Captured
from qrecipe.graph.program import Program
from tests.toys import call, captured_toy, picture

OTHERS = [picture(1, 20, 32), picture(3, 12, 18)]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, pixel_values: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(pixel_values))
        return out


class FreezesHeight(Small):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return super().forward(pixel_values) * 2 ** float(str(int(pixel_values.shape[2])))


class FreezesBatch(Small):
    seen = 0

    def forward(self, pixel_values: Tensor) -> Tensor:
        rows = torch.arange(FIXED or pixel_values.shape[0]) + 1.0
        return super().forward(pixel_values).sum() * rows.mean()


FIXED = 0


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Small().double()


def edited(captured: Captured, mode: str, change: Callable[[Program], None]) -> Captured:
    copied = captured.copy()
    change(copied.programs[mode])  # type: ignore[index]
    return copied


def test_a_true_capture_agrees_and_nothing_changes(model: nn.Module) -> None:
    captured = captured_toy(model)
    before = copy.deepcopy(captured.root.state_dict()), copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    found = verify(captured, model, call, OTHERS)
    assert [(one.mode, one.shape) for one in found] == [
        (mode, tuple(inputs["pixel_values"].shape)) for mode in ("train", "eval") for inputs in OTHERS
    ]
    assert max(one.worst for one in found) == 0
    for module, kept in zip((captured.root, model), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_frozen_size_is_refused(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = FreezesBatch().double()
    monkeypatch.setitem(globals(), "FIXED", 2)
    captured = capture(batch, call, picture())
    monkeypatch.setitem(globals(), "FIXED", 0)
    with pytest.raises(
        CaptureError, match=r"train graph differs from the model at input \(1, 3, 20, 32\): outputs [^0]"
    ):
        verify(captured, batch, call, OTHERS)


def test_a_size_made_a_number_is_refused_by_the_capture_or_by_verify() -> None:
    model = FreezesHeight().double()
    with pytest.raises(CaptureError):
        verify(capture(model, call, picture()), model, call, OTHERS)


def _double(program: Program) -> None:
    output = next(iter(program.output.all_input_nodes))
    with program.graph.inserting_before(program.output):
        program.output.replace_input_with(output, program.graph.call_function(torch.mul, (output, 1.01)))


def _detach(program: Program) -> None:
    weight = next(node for node in program.graph.nodes if node.target == "conv.weight")
    with program.graph.inserting_after(weight):
        cut = program.graph.call_function(torch.detach, (weight,))
    weight.replace_all_uses_with(cut, delete_user_cb=lambda user: user is not cut)


def _scale_gradient(program: Program) -> None:
    weight = next(node for node in program.graph.nodes if node.target == "conv.weight")
    with program.graph.inserting_after(weight):
        bent = program.graph.call_function(_half_gradient, (weight,))
    weight.replace_all_uses_with(bent, delete_user_cb=lambda user: user is not bent)


def _half_gradient(value: Tensor) -> Tensor:
    return value.detach() * 0.5 + value * 0.5


def _forget_statistics(program: Program) -> None:
    norm = next(node for node in program.graph.nodes if node.target == "norm")
    with program.graph.inserting_before(norm):
        fresh = program.graph.call_function(nn.functional.batch_norm, (norm.args[0], None, None), {"training": True})
        weighted = program.graph.call_function(torch.mul, (fresh, 1.0))
    norm.replace_all_uses_with(weighted)
    program.graph.erase_node(norm)


def _count_twice(program: Program) -> None:
    norm = next(node for node in program.graph.nodes if node.target == "norm")
    with program.graph.inserting_before(norm):
        program.graph.call_module("norm", norm.args)


def _break(program: Program) -> None:
    output = next(iter(program.output.all_input_nodes))
    with program.graph.inserting_before(program.output):
        program.output.replace_input_with(output, program.graph.call_function(torch.reshape, (output, (2, 4, 14, 22))))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_double, r"outputs [0-9.]*[1-9]"),
        (_detach, "gradients inf"),
        (_scale_gradient, r"outputs 0, gradients 0\.[0-9]+, buffers 0"),
        (_break, "fails at input"),
    ],
)
def test_any_difference_is_refused(
    model: nn.Module, mode: str, change: Callable[[Program], None], message: str
) -> None:
    captured = edited(captured_toy(model), mode, change)
    with pytest.raises(CaptureError, match=f"captured {mode} graph.*{message}"):
        verify(captured, model, call, OTHERS)


def test_forgotten_running_statistics_are_refused(model: nn.Module) -> None:
    captured = edited(captured_toy(model), "train", _forget_statistics)
    with pytest.raises(CaptureError, match=r"gradients inf, buffers [0-9.]+"):
        verify(captured, model, call, OTHERS)
    captured = edited(captured_toy(model), "train", _count_twice)
    with pytest.raises(CaptureError, match=r"outputs 0, gradients 0, buffers [0-9.]*[1-9]"):
        verify(captured, model, call, OTHERS)


def test_sizes_that_the_model_refuses_are_left_out(model: nn.Module) -> None:
    found = verify(captured_toy(model), model, call, [picture(2, 1, 1), OTHERS[0]], gradients=False)
    assert [one.shape[-1] for one in found] == [32, 32]


def test_a_model_without_gradients_can_be_verified(model: nn.Module) -> None:
    frozen = model.requires_grad_(False)
    assert max(one.worst for one in verify(captured_toy(frozen), frozen, call, OTHERS)) == 0


def test_values_that_are_not_finite_must_be_so_in_both(model: nn.Module) -> None:
    captured = captured_toy(model)
    with torch.no_grad():
        model.conv.bias[0] = torch.nan
    with pytest.raises(CaptureError, match="outputs inf"):
        verify(captured, model, call, OTHERS)
    assert isinstance(captured.programs["eval"].output, fx.Node)
