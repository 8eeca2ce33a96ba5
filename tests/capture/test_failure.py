"""What a failed capture says: the kind of failure, the user's own line, the part of the model; what is tried first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from qrecipe.capture.diagnosis import FAILURE_KINDS
from qrecipe.capture.failure import ADVICE, CaptureFailure
from qrecipe.errors import CaptureError
from tests.toys import call, picture, running

OTHERS = [picture(1, 20, 32, seed=1), picture(3, 24, 18, seed=2)]
LIBRARY = torch.library.Library("qrecipe_failures", "DEF")
LIBRARY.define("opaque(Tensor x) -> Tensor")
LIBRARY.impl("opaque", lambda x: x * 2, "CPU")


class Tripled(torch.autograd.Function):
    """Its backward is not the gradient of its forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 3


class Part(nn.Module):
    """The part that fails; what it computes is a subclass's ``compute``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.compute(x * self.weight)
        return out


class Branch(Part):
    def compute(self, x: Tensor) -> Tensor:
        if x.sum() > 3:  # HERE
            return x * 2
        return x


class Equal(Part):
    def compute(self, x: Tensor) -> Tensor:
        if torch.equal(x, x.flip(0)):  # HERE
            return x * 2
        return x


class Close(Part):
    def compute(self, x: Tensor) -> Tensor:
        for _ in x.flatten(1)[:, :2].unbind(1):
            x = x + 1
        return x * 2 if x.allclose(x.flip(0)) else x  # HERE


class Contains(Part):
    def compute(self, x: Tensor) -> Tensor:
        return x if 1.0 in x else x * 2  # HERE


class Item(Part):
    def compute(self, x: Tensor) -> Tensor:
        top = x.max().item()
        return x / top if top > 1 else x  # HERE


class ToList(Part):
    def compute(self, x: Tensor) -> Tensor:
        counts = x.flatten(1).argmax(1).tolist()  # HERE
        return torch.stack([one[:, :count].sum() for one, count in zip(x, counts, strict=True)])


class ListOfTheBatch(Part):
    def compute(self, x: Tensor) -> Tensor:
        kept = [one[one > 0] for one in x]  # HERE
        return torch.stack([one.sum() for one in kept])


class UnknownLength(Part):
    def compute(self, x: Tensor) -> Tensor:
        total = x.sum()
        for value in x[x > 0.5]:  # HERE
            total = total + value
        return total


class Numpy(Part):
    def compute(self, x: Tensor) -> Tensor:
        order = np.lexsort((x.detach().flatten().numpy(),))  # HERE
        return x.flatten()[torch.from_numpy(order)]


class Function(Part):
    def compute(self, x: Tensor) -> Tensor:
        out: Tensor = Tripled.apply(x)  # HERE
        return out


class Operator(Part):
    def compute(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.qrecipe_failures.opaque(x)  # HERE
        return out


class Size(Part):
    def compute(self, x: Tensor) -> Tensor:
        return x * float(np.float64(x.shape[-1]))  # HERE


class Crash(Part):
    def compute(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            raise KeyError("no such feature")  # HERE
        return x


class Model(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Identity(), part])
        self.dropout = nn.Dropout(0.2)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.conv(pixel_values)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.dropout(x)
        return out


FAILING: list[tuple[type[Part], str, str]] = [
    (Branch, "branch", "torch.where"),
    (Equal, "equal", "key is value"),
    (Close, "equal", "leave the comparison out"),
    (Contains, "branch", "torch.where"),
    (Item, "item", "keep it a tensor"),
    (ToList, "tolist", "gather"),
    (ListOfTheBatch, "varying", "without a loop over it"),
    (UnknownLength, "varying", "mask that keeps the shape"),
    (Numpy, "numpy", "register_buffer"),
    (Function, "function", "its own backward is lost"),
    (Operator, "operator", "register_fake"),
    (Size, "size", "tensor.shape"),
    (Crash, "other", "adapter"),
]


def line_of(part: type[Part]) -> int:
    """The line below ``class PART`` that is marked HERE."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    start = lines.index(f"class {part.__name__}(Part):")
    return next(number for number, text in enumerate(lines[start:], start=start + 1) if text.endswith("# HERE"))


@pytest.fixture(scope="module")
def failures() -> dict[type[Part], CaptureFailure]:
    """What each of them ends in, captured once."""
    found = {}
    for part, _, _ in FAILING:
        model = Model(part()).double()
        with pytest.raises(CaptureFailure) as caught:
            verify(capture(model, call, picture()), model, call, OTHERS)
        found[part] = caught.value
    return found


@pytest.mark.parametrize(("part", "kind", "advice"), FAILING, ids=[part.__name__ for part, _, _ in FAILING])
def test_a_screen(part: type[Part], kind: str, advice: str, failures: dict[type[Part], CaptureFailure]) -> None:
    failure = failures[part]
    assert (failure.kind, failure.part) == (kind, "blocks.1")
    assert failure.line is not None
    assert failure.line.file == __file__
    assert failure.line.number == line_of(part)
    text = str(failure)
    assert text.startswith(f"Model cannot be captured: {ADVICE[failure.kind].what}")
    assert failure.line.text in text
    assert f"blocks.1 ({part.__name__})" in text
    assert advice in text
    assert len(text.splitlines()) <= 13
    assert max(map(len, text.splitlines())) < 250


def test_how_each_attempt_ended_is_told(failures: dict[type[Part], CaptureFailure]) -> None:
    branch = str(failures[Branch])
    assert "non-strict, training and evaluation mode: GuardOnDataDependentSymNode: Could not guard" in branch
    assert "strict, training and evaluation mode: Unsupported: Data-dependent branching" in branch
    assert "strict, training and evaluation mode: not tried" in str(failures[Operator])
    assert "outputs agree, but the gradients differ by" in str(failures[Function])


def test_where_a_number_was_read_is_told(failures: dict[type[Part], CaptureFailure]) -> None:
    read = next(line for line in str(failures[Item]).splitlines() if line.startswith("  read at"))
    assert read.endswith("top = x.max().item()")
    assert "read at" not in str(failures[Branch])


def test_which_size_became_a_number_is_told(failures: dict[type[Part], CaptureFailure]) -> None:
    assert "(batch)" in str(failures[ListOfTheBatch]).splitlines()[0]
    assert "(width)" in str(failures[Size]).splitlines()[0]


def test_there_is_advice_for_every_kind() -> None:
    assert set(ADVICE) == set(FAILURE_KINDS)


class Twice(Model):
    """One module under two names, which torch runs through a proxy of it."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__(part)
        self.again = nn.ModuleList([part, self.dropout])


@pytest.mark.parametrize("part", [Branch, Item])
def test_a_module_under_two_names_changes_nothing(part: type[Part], failures: dict[type[Part], CaptureFailure]) -> None:
    with pytest.raises(CaptureFailure) as caught:
        capture(Twice(part()).double(), call, picture())
    assert str(caught.value) == str(failures[part]).replace("Model", "Twice", 1)


class FollowedByDynamo(Part):
    def compute(self, x: Tensor) -> Tensor:
        return x * float(x.detach().numpy().max())


def test_strict_is_tried_second() -> None:
    """Dynamo follows the numpy that torch.export's own tracer cannot."""
    model = Model(FollowedByDynamo()).double()
    captured = capture(model, call, picture())
    assert captured.warnings == ()
    assert [one.mode for one in verify(captured, model, call, OTHERS)] == ["train", "train", "eval", "eval"]
    assert "blocks.1" in {node.meta.get("module") for node in captured.programs["train"].graph.nodes}


class FailsInTraining(Part):
    def compute(self, x: Tensor) -> Tensor:
        return x * 2 if self.training and x.sum() > 3 else x


def test_the_evaluation_mode_is_tried_third_and_serves_for_both() -> None:
    model = Model(FailsInTraining()).double()
    captured = capture(model, call, picture())
    (warning,) = captured.warnings
    assert "cannot be captured in training mode (a branch on a tensor's value at " in warning
    assert "auxiliary outputs, and dropout" in warning
    assert not captured.training
    assert captured.copy().warnings == captured.warnings
    assert {one.mode for one in verify(captured, model, call, OTHERS)} == {"eval"}
    graph = running(captured).train()
    first, second = (graph.run(picture()).outputs for _ in range(2))
    assert not torch.equal(first, second)  # the dropout of a part is there
    torch.testing.assert_close(graph.eval().run(picture()).outputs, model.eval()(**picture()))


class Scaled(nn.Module):
    """Its output depends on the image's width; without ``by_width`` on nothing but the image."""

    def __init__(self, by_width: bool) -> None:
        super().__init__()
        self.by_width = by_width

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values * (pixel_values.shape[-1] / 24 if self.by_width else 1)


def test_a_graph_that_differs_names_the_sizes_that_agree() -> None:
    captured = capture(Scaled(False).double(), call, picture())
    with pytest.raises(CaptureError, match=r"differs from the model at input \(1, 3, 20, 32\)") as caught:
        verify(captured, Scaled(True).double(), call, [picture(3, 20, 24), picture(1, 20, 32)])
    assert "outputs agree at (3, 3, 20, 24)" in str(caught.value)
    assert "without numpy" in str(caught.value)
    with pytest.raises(CaptureError, match="outputs agree at none of the sizes tried"):
        verify(captured, Scaled(True).double(), call, [picture(1, 20, 32)])


def test_torch_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    disabled = logging.root.manager.disable
    with pytest.raises(CaptureFailure):
        capture(Model(Branch()).double(), call, picture())
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert logging.root.manager.disable == disabled
