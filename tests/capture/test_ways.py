"""What is seen only where a model is asked again: another way at other sizes, and other random numbers than torch's."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from qrecipe.capture.failure import CaptureFailure
from qrecipe.errors import CaptureError
from tests.capture.test_failure import OTHERS, Model, Part
from tests.toys import call, picture, running


@pytest.mark.parametrize(("wide", "served"), [(700, "2 to 700"), (20, "21")])
def test_a_branch_on_a_size_is_refused_beyond_it_too(wide: int, served: str) -> None:
    """No size that is compared is on its other side."""

    class Sized(Part):
        def compute(self, x: Tensor) -> Tensor:
            return x * 2 if x.shape[-1] > wide else x

    class Table(Part):
        def __init__(self) -> None:
            super().__init__()
            self.columns = nn.Parameter(torch.rand(wide))

        def compute(self, x: Tensor) -> Tensor:
            return x + self.columns[: x.shape[-1]]

    if wide > 24:  # one that ends is no branch: the model itself fails beyond it
        capture(Model(Table()).double(), call, picture())
    if wide == 20:  # what convolutions alone ask for is no branch
        capture(Model(Sized()).double(), call, picture())
        return
    with pytest.raises(CaptureFailure) as caught:
        capture(Model(Sized()).double(), call, picture())
    assert caught.value.kind == "bound"
    capture(Model(Sized()).double(), call, picture(), largest=700)  # no image passes it
    with pytest.raises(CaptureFailure):
        capture(Model(Sized()).double(), call, picture(), largest=701)
    assert f"a branch on the size of the input (its width: sizes from {served} go one way)" in str(caught.value)


@pytest.mark.parametrize("other", [lambda x: x.shape[-1] % 32 == 0, lambda x: x.shape[-2] > 64])
def test_a_model_that_takes_few_sizes_is_asked_at_one_of_them(other: Callable[[Tensor], bool]) -> None:
    class Choosy(Part):
        def compute(self, x: Tensor) -> Tensor:
            if not other(x):
                raise ValueError("not of this size")
            return x * 2 if x.shape[-1] > 700 else x

    with pytest.raises(CaptureFailure) as caught:
        capture(Model(Choosy()).double(), call, picture(2, 96, 64))
    assert caught.value.kind == "bound"


@pytest.mark.parametrize("source", [random.random, np.random.random])
def test_random_numbers_that_are_not_torchs(source: Callable[[], float]) -> None:
    class Drops(Part):
        def compute(self, x: Tensor) -> Tensor:
            return x if self.training and source() < 0.1 else x * 2

    model = Model(Drops()).double()
    random.seed(1)
    captured = capture(model, call, picture())
    with pytest.raises(CaptureError, match=r"Python's or numpy's change what .* in train mode.*draw with torch"):
        verify(captured, model, call, OTHERS)


def test_random_numbers_that_end_the_model_now_and_then() -> None:
    class Unlucky(Part):
        def compute(self, x: Tensor) -> Tensor:
            if random.random() < 0.1:
                raise ValueError("an unlucky crop")
            return x

    model = Model(Unlucky()).double()
    random.seed(1)
    captured = capture(model, call, picture())
    random.seed(1)
    with pytest.raises(CaptureError, match=r"Python's or numpy's change what"):
        verify(captured, model, call, OTHERS)


def test_random_numbers_that_decide_nothing() -> None:
    class Draws(Part):
        def compute(self, x: Tensor) -> Tensor:
            return x if random.random() < 0.0 else x * 2

    model = Model(Draws()).double()
    assert verify(capture(model, call, picture()), model, call, OTHERS)


class Counts(Part):
    def __init__(self, read: Callable[[Part], float]) -> None:
        super().__init__()
        self.read, self.calls, self.others, self.width, self.timed = read, 0, 0, 0, 1.0
        self.cap, self.ring, self.place, self.logged = float("inf"), [0, 0, 0], 0, 1000

    def compute(self, x: Tensor) -> Tensor:
        self.calls, self.others = self.calls + 1, self.others + 1
        self.width, self.timed = x.shape[-1], 0.5 * self.timed
        self.ring[self.place] = self.calls
        self.place = (self.place + 1) % len(self.ring)
        while self.calls >= self.logged:
            self.logged += 1000
        return (x * self.read(self)).clamp(max=self.cap)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda part: 2 if part.calls > 5000 else 1, "calls"),
        (lambda part: 2 if min(part.calls, part.others) > 5000 else 1, r"calls and blocks\.1\.others.*"),
        (lambda part: min(part.calls / 1e9, 1), "calls"),
        (lambda part: 1 + part.timed * 1e-9, "timed"),
    ],
)
def test_a_count_of_calls_that_decides(read: Callable[[Part], float], name: str) -> None:
    """At no size that is compared, and by less than a comparison would see."""
    model = Model(Counts(read)).double()
    captured = capture(model, call, picture())
    with pytest.raises(
        CaptureError, match=rf"blocks\.1\.{name} changes with every call.*in train mode.*register_buffer"
    ):
        verify(captured, model, call, OTHERS)


def test_a_count_of_calls_that_decides_nothing() -> None:
    """And the size of the last image, which comes again with the image; an index that wraps; a limit that is none."""
    part = Counts(lambda part: 2.0)
    model = Model(part).double()
    captured = capture(model, call, picture())
    assert verify(captured, model, call, OTHERS)
    assert part.calls == 0


class KeepsOff(Model):
    """As detectors freeze a part: its dropout is in evaluation mode whatever the model is in."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.dropout.eval()
        return self


def test_dropout_that_the_model_keeps_off_is_off() -> None:
    model = KeepsOff(nn.Identity()).double()
    captured = capture(model, call, picture())
    assert [one.mode for one in verify(captured, model, call, OTHERS)] == ["train", "train", "eval", "eval"]
    graph = running(captured).train()
    assert torch.equal(*(graph.run(picture()).outputs for _ in range(2)))
