"""How much each quantizer changes what passes it, as a ratio of signal to noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..student import Student


@dataclass
class Noise:
    """Of one quantizer: sums over all values that passed it.

    signal: of x squared. error: of (q - x) squared, with q what came out.
    """

    signal: float = 0.0
    error: float = 0.0

    @property
    def decibels(self) -> float | None:
        """``10 log10(signal / error)``; None where nothing was changed, or nothing passed."""
        if not self.error > 0 or not self.signal > 0 or not math.isfinite(self.signal + self.error):
            return None
        return 10 * math.log10(self.signal / self.error)


@contextmanager
def measuring_noise(student: Student) -> Iterator[dict[str, Noise]]:
    """By name of the quantizer, those that are on: filled by all that runs through the student inside.

    A quantizer is held against its own input, which what is before it has changed already.
    """
    found = {name: Noise() for name, one in student.quantizers.items() if one.mode == "on"}

    def hook(noise: Noise) -> Any:
        def add(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            value = given[0].detach().double()
            noise.signal += float(value.square().sum())
            noise.error += float((out.detach().double() - value).square().sum())

        return add

    handles = [student.quantizers[name].register_forward_hook(hook(noise)) for name, noise in found.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
