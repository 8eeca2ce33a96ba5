"""Parts without gradients, or with mixed precision off, are in the graph like all others; what cannot be is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from qrecipe.capture import capture, settled_switches, verify
from qrecipe.capture.failure import CaptureFailure
from qrecipe.structure.operations import find_operations
from tests.capture import switching_steps as steps
from tests.capture.switching_steps import KEPT, REFUSED, Step, line_of
from tests.specimens import W4A4, a_recipe
from tests.toys import call, captured_toy, picture, rewritten

OTHERS = [picture(1, 20, 32, seed=1), picture(3, 24, 18, seed=2)]


class Model(nn.Module):
    """Steps one after the other behind a convolution, and one more linear."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, steps.WIDTH, 4, 4)
        self.steps = nn.ModuleList(parts)
        self.last = nn.Linear(steps.WIDTH, 3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.conv(pixel_values).flatten(2).mT
        for step in self.steps:
            x = step(x)
        out: Tensor = self.last(x)
        return out


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("some", [KEPT[start::5] for start in range(5)], ids=lambda some: some[0].__name__)
def test_they_are_captured_with_the_models_own_gradients(some: Sequence[type[Step]]) -> None:
    """``verify`` compares outputs, gradients, also those that are None, and buffers."""
    torch.manual_seed(0)
    model = Model(*(step() for step in some)).double()
    captured = captured_toy(model)
    assert captured.warnings == ()
    assert len(verify(captured, model, call, OTHERS, tolerance=1e-9)) == 4
    for program in captured.programs.values():
        assert not any(
            isinstance(node.target, torch._ops.HigherOrderOperator) or "set_grad" in str(node.target)
            for node in program.graph.nodes
        )


def test_what_runs_without_gradients_is_a_site_like_all_others() -> None:
    model = Model(steps.NoGrad(), steps.AutocastOff(), steps.Reentrant())
    captured = captured_toy(model)
    sites = {one.site for one in find_operations(captured)["train"] for one in one.operands}
    assert {
        f"steps.{step}.{linear}.{name}" for step in range(3) for linear in "ab" for name in ("input", "weight")
    } <= sites
    student, plan, _ = rewritten(captured, a_recipe(W4A4))
    assert {"steps.0.a.input", "steps.0.a.weight"} <= {
        site.name for site in plan.sites.values() if site.spec is not None
    }
    student.train().run(picture())[0].sum().backward()
    grads = {name: parameter.grad for name, parameter in student.named_parameters()}
    assert grads["steps.0.a.weight"] is None
    assert grads["steps.0.b.weight"] is not None


def test_buffers_do_not_hold_on_to_the_graph() -> None:
    """What a buffer was written from has gradients where they are on: a second backward pass would fail."""
    student, _, _ = rewritten(captured_toy(Model(steps.RunningMean())), a_recipe(W4A4))
    student.train()
    for _ in range(2):
        student.run(picture())[0].sum().backward()
    buffer = student.get_buffer("steps.0.mean")
    assert not buffer.requires_grad
    assert buffer.abs().max() > 0


@pytest.mark.parametrize("step", REFUSED, ids=[step.__name__ for step in REFUSED])
def test_what_cannot_be_kept_is_refused_at_its_line(step: type[Step]) -> None:
    with pytest.raises(CaptureFailure) as caught:
        capture(Model(step()).double(), call, picture())
    failure = caught.value
    assert (failure.kind, failure.part) == (REFUSED[step], "steps.0")
    assert failure.line is not None
    assert (failure.line.file, failure.line.number) == (steps.__file__, line_of(step))
    assert len(str(failure).splitlines()) <= 10
    assert "Refused" not in str(failure)


def test_a_checkpoint_of_images_has_no_gradients() -> None:
    """A reentrant one gives gradients only where an input has them, and says so."""

    class FirstStage(Model):
        def forward(self, pixel_values: Tensor) -> Tensor:
            x: Tensor = checkpoint(self.conv, pixel_values, use_reentrant=True)
            out: Tensor = self.last(x.flatten(2).mT)
            return out

    model = FirstStage().double()
    captured = captured_toy(model)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        verify(captured, model, call, OTHERS)
    student, _, _ = rewritten(captured, a_recipe({}))
    student.train().run(picture())[0].sum().backward()
    assert student.get_parameter("conv.weight").grad is None
    assert student.get_parameter("last.weight").grad is not None


class LeavesOff(Step):
    def compute(self, x: Tensor) -> Tensor:
        y = self.a(x)
        torch.set_grad_enabled(self.training)
        return self.b(y) + x


class LeavesOffAlways(Step):
    def compute(self, x: Tensor) -> Tensor:
        y = self.a(x)
        torch.set_grad_enabled(False)
        return self.b(y) + x


@pytest.mark.parametrize(("step", "modes"), [(LeavesOff, "evaluation"), (LeavesOffAlways, "training and evaluation")])
def test_gradients_that_are_left_off_are_said_and_switched_on_again(step: type[Step], modes: str) -> None:
    model = Model(step()).double()
    captured = captured_toy(model)
    assert len(verify(captured, model, call, OTHERS)) == 4
    assert torch.is_grad_enabled()
    (warning,) = captured.warnings
    assert f"leaves gradients switched off in {modes}, at " in warning
    assert "test_switched_regions.py:" in warning


def test_what_is_switched_around_a_capture_counts_for_nothing() -> None:
    model = Model(steps.NoGrad()).double()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        with settled_switches(torch.device("cpu")):
            captured = captured_toy(model)
            assert len(verify(captured, model, call, OTHERS, tolerance=1e-9)) == 4
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
