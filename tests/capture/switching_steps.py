"""Steps of a model that switch gradients or precision off for a part, each (batch, length, 8) to the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH = 8


class Step(nn.Module):
    """Two linears; what a subclass does with them is its ``compute``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.compute(x)
        return out


class Plain(Step):
    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()) + x


class NoGrad(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.a(x)
        return self.b(y) + x


class Decorated(Step):
    @torch.no_grad()
    def frozen(self, x: Tensor) -> Tensor:
        return self.a(x)

    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.frozen(x)) + x


class InTrainingOnly(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.training):
            y = self.a(x)
        return self.b(y) + x


class Switched(Step):
    """As function calls, without a block."""

    def compute(self, x: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        y = self.a(x)
        torch.set_grad_enabled(True)
        return self.b(y) + x


class OnInside(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.a(x)
            with torch.enable_grad():
                z = self.b(y)
            y = self.a(z)
        return z + y + x


class LastPassOnly(Step):
    """Only the last of several passes has gradients, as in recurrent refinement."""

    def compute(self, x: Tensor) -> Tensor:
        for index in range(3):
            with torch.set_grad_enabled(index == 2 and torch.is_grad_enabled()):
                x = x + self.a(x)
        return x


class WrittenInPlace(Step):
    def compute(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.no_grad():
            y.clamp_(-1, 1)
        return self.b(y) + x


class WrittenAndReturned(Step):
    """What is returned is the tensor that was written into, with the gradient that it has."""

    def compute(self, x: Tensor) -> Tensor:
        y = self.a(x)
        with torch.no_grad():
            z = y.mul_(2).add_(self.b(x))
        return z + x


class WrittenAfterwards(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.a(x).sigmoid()  # torch forbids to write into a view that was made without gradients
        return y.add_(self.b(x)) + x


class PartOfATensor(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = torch.zeros_like(x)
            y[..., :4] = self.a(x)[..., :4]
            p, q = y.chunk(2, -1)
            best, at = x.max(-1, keepdim=True)
        return self.b(torch.cat([q, p], -1)) * best + x.gather(-1, at)


class RunningMean(Step):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))

    def compute(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(y.mean((0, 1)), alpha=0.1)
        return self.b(y) + self.mean + x


class BoundedParameter(Step):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((WIDTH,), 3.0))

    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.scale.clamp_(max=2)
        return self.a(x) * self.scale + x


class Data(Step):
    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).data) + x


class Inference(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            y = self.a(x)
        return self.b(y.clone()) + x


class AutocastOff(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            y = self.a(x)
        return self.b(y) + x


class SumWithoutAutocast(Step):
    @torch.autocast("cpu", enabled=False)
    def compute(self, x: Tensor) -> Tensor:
        return x + x.mean(-1, keepdim=True)


class Nested(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            y = self.a(x)
            with torch.no_grad():
                y = self.b(y)
            with torch.autocast("cuda", enabled=False):
                y = y.relu_()
        return y + x


class Reentrant(Step):
    def compute(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.a, x, use_reentrant=True)
        return self.b(y) + x


class NonReentrant(Step):
    def compute(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.a, x, use_reentrant=False)
        return self.b(y) + x


class Spectral(Step):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.spectral_norm(self.a)
        nn.utils.parametrizations.spectral_norm(self.b)

    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + x


class WeightNorm(Step):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.a)

    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) + x


class Kept(Step):
    """Keeps what it computed, as models keep attention maps."""

    def compute(self, x: Tensor) -> Tensor:
        self.last = self.a(x)
        return self.b(self.last) + x


class Recorded(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.profiler.record_function("part"), torch.device("cpu"):
            y = self.a(x)
        return self.b(y) + x


class HalfPrecision(Step):
    def compute(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):  # HERE
            y = self.a(x)
        return self.b(y.to(x.dtype)) + x


class HalfPrecisionDecorated(Step):
    @torch.no_grad()
    @torch.autocast("cpu", dtype=torch.bfloat16)  # HERE
    def inner(self, x: Tensor) -> Tensor:
        return x * 2

    def compute(self, x: Tensor) -> Tensor:
        return self.b(self.inner(x).to(x.dtype)) + x


class Conditional(Step):
    def compute(self, x: Tensor) -> Tensor:
        out: Any = torch.cond(x.sum() > 0, self.a, self.b, (x,))  # HERE
        return out


class Mapped(Step):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.vmap(self.a)(x)  # HERE
        return out


KEPT: tuple[type[Step], ...] = (
    *(Plain, NoGrad, Decorated, InTrainingOnly, Switched, OnInside, LastPassOnly, WrittenInPlace, WrittenAndReturned),
    *(WrittenAfterwards, PartOfATensor, RunningMean, BoundedParameter, Data, Inference, AutocastOff),
    *(SumWithoutAutocast, Nested, Reentrant, NonReentrant, Spectral, WeightNorm, Kept, Recorded),
)
REFUSED: dict[type[Step], str] = {
    HalfPrecision: "autocast",
    HalfPrecisionDecorated: "autocast",
    Conditional: "subgraph",
    Mapped: "transform",
}
"""With the kind of finding."""


def line_of(step: type[Step]) -> int:
    """The line below ``class STEP`` that is marked HERE."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    start = lines.index(f"class {step.__name__}(Step):")
    return next(number for number, text in enumerate(lines[start:], start=start + 1) if text.endswith("# HERE"))
