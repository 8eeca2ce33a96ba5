"""Small real detectors in float64, captured, with inputs for them. Tests copy what they change."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from qrecipe.capture.verify import Agreement
from qrecipe.data.batch import Batch
from qrecipe.graph.captured import Captured
from qrecipe.models.demo import DemoDetector
from qrecipe.models.families import Family, build_family
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.definition import LossSpec, Recipe
from qrecipe.student import Original, Student, make_student
from tests.tiny_detectors import some_labels, stir, tiny_deimv2, tiny_detr
from tests.toys import ToyDetector

W4A4 = {
    "weight": {"bits": 4, "quantizer": "lsq", "per": "channel", "init": "minmax"},
    "activation": {"bits": 4, "quantizer": "lsq+", "per": "tensor", "init": "minmax"},
    "attention": {"bits": 8, "quantizer": "lsq+", "per": "head", "init": "minmax"},
}
"""The widest ranges, which take no search: most tests ask nothing of them, and the search was a sixth of all tests."""
ALIGN = [{"at": "decoder.cross_attention.query", "per": "head"}]
TARGETS = [{"at": "decoder.cross_attention.output", "layers": "last", "weight": 2.5}]


def a_recipe(
    quantize: Mapping[str, Any] | None = None,
    align: Any = (),
    targets: Any = (),
    roles: Mapping[str, str] | None = None,
    train: Mapping[str, Any] | None = None,
    **model: Any,
) -> Recipe:
    """A recipe written in Python; it names no model unless told."""
    return recipe_from_mapping(
        {
            "version": 1,
            "model": {**({"roles": dict(roles)} if roles else {}), **(model or {"architecture": "demo"})},
            "quantize": dict(quantize or {}),
            "distill": {"align": list(align), "targets": list(targets)},
            "train": dict(train or {}),
        }
    )


@dataclass(repr=False)  # a failing property test would print all of a model
class Specimen:
    """A detector and its capture. ``sizes``: (batch, height, width) to compare at, other than the captured one."""

    model: nn.Module
    family: Family
    captured: Captured
    sizes: tuple[tuple[int, int, int], ...]

    @property
    def original(self) -> Original:
        return Original(self.captured, self.family, replace(self.family.default_input, size=(64, 96), shortest=None))

    @cached_property
    def agreements(self) -> list[Agreement]:
        """What ``verify`` finds at the other sizes."""
        inputs = [self.inputs(*size) for size in self.sizes]
        return verify(self.captured, self.model, self.family.forward, inputs, tolerance=1e-3)

    def eager(self) -> nn.Module:
        """A copy of the model, in eval mode."""
        return copy.deepcopy(self.model)

    def student(self, recipe: Recipe) -> Student:
        return make_student(self.original, recipe)

    def inputs(self, batch: int, height: int, width: int, seed: int = 0) -> dict[str, Tensor]:
        return self.family.inputs(*images(batch, height, width, seed))

    def batch(self, counts: tuple[int, ...] = (2, 1), seed: int = 0, height: int = 64, width: int = 96) -> Batch:
        """Random images with so many objects each."""
        pixels, mask = images(len(counts), height, width, seed)
        labels = [{**label, "boxes": label["boxes"].double()} for label in some_labels(counts, 3, seed + 1)]
        sizes = torch.tensor([[height, width]] * len(counts))
        return Batch(pixels, mask, labels, list(range(len(counts))), sizes)


def images(batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise in float64, and a mask under which the first image is narrower."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
    mask = torch.ones(batch, height, width, dtype=torch.int64)
    mask[0, :, width * 3 // 4 :] = 0
    return pixels, mask


def prepared(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, every parameter moved, and running statistics that are not those of a fresh norm."""
    stir(model, seed).double().eval()
    generator = torch.Generator().manual_seed(seed + 1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model


def small_demo(dropout: float = 0.1, decoder_layers: int = 2, width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return DemoDetector(
        3, width=width, encoder_layers=1, decoder_layers=decoder_layers, queries=6, heads=4, dropout=dropout
    )


def captured(model: nn.Module, sizes: tuple[tuple[int, int, int], ...]) -> Specimen:
    family = build_family(prepared(model), LossSpec())
    return Specimen(model, family, capture(model, family.forward, family.inputs(*images(2, 64, 96))), sizes)


SPECIMENS: dict[str, Callable[[], Specimen]] = {
    "demo": lambda: captured(small_demo(), ((1, 72, 64), (3, 40, 104))),
    "detr": lambda: captured(
        tiny_detr(dropout=0.1, attention_dropout=0.1, decoder_layers=2), ((1, 96, 64), (3, 32, 160))
    ),
    "toy": lambda: captured(ToyDetector(), ((1, 18, 10), (3, 12, 22))),
    "deimv2": lambda: captured(tiny_deimv2(decoder_layers=2, depth_mult=0.34), ((1, 96, 64), (3, 32, 160))),
}
REAL = ("demo", "detr", "deimv2")
