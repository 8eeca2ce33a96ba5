"""A student of a few weights, its loss, and batches, for tests of the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from qrecipe.data.batch import Batch
from qrecipe.quantizers import Encoding, Observed, QuantizedOperand, Quantizer, RelativeStep, Step
from qrecipe.recipe.definition import QuantizerSpec


@final
class TinyQuantizer(Quantizer):
    """A factor that trains, and a buffer that training changes."""

    def __init__(self) -> None:
        operand = QuantizedOperand("act", (None, 4, None, None), None, 1, is_weight=False, batched=True)
        super().__init__(QuantizerSpec(8, "tiny", "tensor"), operand)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.mode = "on"

    def quantize(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return x * self.scale

    def steps(self) -> tuple[Step, ...]:
        return (RelativeStep(self.scale),)

    def integers(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def encoding(self) -> Encoding:
        raise NotImplementedError

    def own_initialiser(self) -> str:
        raise NotImplementedError

    def initialise(self, seen: Observed) -> None:
        raise NotImplementedError


class TinyStudent(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.fake_quantizers = nn.ModuleDict({"act": TinyQuantizer()})
        self.head = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.head.weight

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.fake_quantizers["act"](self.backbone(pixels)).mean((-2, -1))
        return self.tied(self.head(features).tanh())  # a rectifier may be dead for all images


class TinyTrainable(nn.Module):
    """Student, a frozen teacher, and a trained projection outside both. ``poison``: image ids that give NaN."""

    def __init__(self, seed: int = 0, poison: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.student: nn.Module = TinyStudent(seed)
        self.teacher = TinyStudent(99).requires_grad_(False)
        self.projection = nn.Linear(4, 4)
        self.poison = poison
        self.stages: list[tuple[str, ...] | None] = []
        self.progress: list[float] = []

    def set_stage(self, quantize: tuple[str, ...] | None, bits: int | None = None) -> None:
        self.stages.append(quantize)

    def change_bits(self, bits: int | None) -> None:
        raise AssertionError("no stage here has bits")

    def set_progress(self, over: float) -> None:
        self.progress.append(over)

    def train(self, mode: bool = True) -> TinyTrainable:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.student(batch.pixel_values)
        detection = (out - 1).square().mean()
        distill = (self.projection(out) - self.teacher(batch.pixel_values)).square().mean()
        if set(batch.image_ids) & set(self.poison):
            distill = distill * torch.nan
        return detection + distill, {"detection": detection.detach(), "distill": distill.detach()}


class TinyLoader:
    """``batches`` batches of two images, noise drawn from the epoch."""

    def __init__(self, batches: int = 3) -> None:
        self.batches = batches
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        for index in range(self.first, self.batches):
            noise = torch.Generator().manual_seed(1000 * self.epoch + index)
            yield Batch(
                pixel_values=torch.randn(2, 3, 8, 8, generator=noise),
                pixel_mask=None,
                labels=[],
                image_ids=[10 * index + 1, 10 * index + 2],
                sizes=torch.full((2, 2), 8),
            )


@dataclass(frozen=True)
class TinyScores:
    AP: float

    def to_dict(self) -> dict[str, Any]:
        return {"AP": self.AP, "per_class": {"thing": self.AP}}
