"""Weights whose integers turn to and fro are frozen, one by one, while a student is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..distill import remaining
from ..quantizers.affine import AffineQuantizer
from ..recipe.definition import FreezeSpec


class Oscillations:
    """How often each weight's integer turns back. A weight beyond the threshold is frozen to its mean integer, rounded.

    An integer *turns back* at a step where it changes in another direction than when it last changed. Frequency and
    mean are exponential averages over optimizer steps, with ``spec.momentum``. The threshold falls from
    ``spec.threshold`` to ``spec.final`` with half a cosine over training. Each step's integers are those that its
    forward pass saw; quantizers that are off meanwhile are passed over.

    Attributes:
        values: by quantizer and name, in the weight's shape: ``previous`` and ``direction`` (int8, of the last change;
            0 before the first), ``frequency`` and ``mean`` (float32). What a resumed training needs, with what is
            frozen, which is the student's.

    Source: Nagel et al., "Overcoming Oscillations in Quantization-Aware Training", ICML 2022 (arXiv 2203.11086),
    algorithm 1. The mean begins with the first integer, and no change before it counts.
    """

    def __init__(self, student: nn.Module, spec: FreezeSpec) -> None:
        self.spec = spec
        self.values: dict[str, dict[str, Tensor]] = {}
        self._quantizers = {
            name: module
            for name, module in student.named_modules()
            if isinstance(module, AffineQuantizer) and module.operand.is_weight
        }
        self._seen: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it is entered, forward passes leave their integers for :meth:`update`."""

        def look(name: str) -> Any:
            def keep(module: AffineQuantizer, read: tuple[Tensor, ...], _: Tensor) -> None:
                if module.mode == "on":
                    self._seen[name] = module.integers(read[0]).to(torch.int8)

            return keep

        hooks = [quantizer.register_forward_hook(look(name)) for name, quantizer in self._quantizers.items()]
        try:
            yield
        finally:
            self._seen = {}
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def update(self, over: float) -> None:
        """Take in what the forward passes of an optimizer step saw, and freeze. over: the share of training, 0..1."""
        threshold = self.spec.final + (self.spec.threshold - self.spec.final) * remaining("cosine", over)
        for name, integers in self._seen.items():
            known = self.values.get(name)
            if known is None:
                self.values[name] = _first(integers)
                continue
            turned = self._turned(known, integers)
            known["frequency"].lerp_(turned.float(), self.spec.momentum)
            beyond = known["frequency"] > threshold
            if beyond.any():
                self._quantizers[name].freeze(beyond, known["mean"].round())
            known["mean"].lerp_(integers.float(), self.spec.momentum)
        self._seen = {}

    def _turned(self, known: Mapping[str, Tensor], integers: Tensor) -> Tensor:
        """Which integers turned back; the last ones and their directions are taken over."""
        way = torch.sign(integers.short() - known["previous"].short()).to(torch.int8)
        turned = way * known["direction"] < 0
        known["direction"].copy_(torch.where(way != 0, way, known["direction"]))
        known["previous"].copy_(integers)
        return turned

    def share(self) -> float:
        """What share of the weights that are quantized so is frozen, in 0..1."""
        masks = [quantizer.is_frozen for quantizer in self._quantizers.values()]
        return sum(int(mask.sum()) for mask in masks) / max(sum(mask.numel() for mask in masks), 1)

    def restore(self, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what an earlier start saw."""
        places = {name: quantizer.scale.device for name, quantizer in self._quantizers.items()}
        self.values = {
            name: {key: value.to(places[name]).clone() for key, value in own.items()} for name, own in values.items()
        }


def _first(integers: Tensor) -> dict[str, Tensor]:
    mean = integers.float()
    return {
        "previous": integers,
        "direction": torch.zeros_like(integers),
        "frequency": torch.zeros_like(mean),
        "mean": mean,
    }
