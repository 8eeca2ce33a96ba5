"""What each part costs when it alone is quantized, and what it gives back when it alone is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .gauge import Bits, Gauge
from .parts import PartOfModel


class Trial(Protocol):
    """Measures one choice of bits, or remembers what it measured."""

    def __call__(self, bits: Bits) -> Trialled: ...


@dataclass(frozen=True)
class Trialled:
    """distance: from the real-valued model's predictions. AP: on the validation split, None if it was not asked for."""

    distance: float
    AP: float | None = None


@dataclass(frozen=True)
class Measured:
    """One part at one width.

    alone: when nothing else is quantized: distance to the real-valued model, and its AP.
    without: when everything else is quantized at this width, and this part is not.
    gives_back: by how much the distance of everything is larger than that.
    """

    part: str
    macs: float
    bits: int
    alone: Trialled
    without: Trialled
    gives_back: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "macs": self.macs,
            "bits": self.bits,
            "alone": self.alone.distance,
            "alone_AP": self.alone.AP,
            "without": self.without.distance,
            "without_AP": self.without.AP,
            "gives_back": self.gives_back,
        }


@dataclass(frozen=True)
class Sensitivity:
    """rows: by width and part, in the graph's order. whole: everything quantized, by width.

    AP_real: of the real-valued model. images: that predictions were compared on. by: what a part is.
    chart: where it was drawn.
    """

    by: str
    images: int
    rows: tuple[Measured, ...]
    whole: dict[int, Trialled]
    AP_real: float | None = None
    chart: Path | None = None

    def at(self, bits: int) -> list[Measured]:
        """The rows of one width, the costliest part first."""
        return sorted((row for row in self.rows if row.bits == bits), key=lambda row: -row.alone.distance)

    def to_dict(self) -> dict[str, Any]:
        return {
            "by": self.by,
            "images": self.images,
            "AP_real": self.AP_real,
            "whole": {str(bits): {"distance": one.distance, "AP": one.AP} for bits, one in self.whole.items()},
            "parts": [row.to_dict() for row in self.rows],
        }


def measure(
    gauge: Gauge,
    parts: Sequence[PartOfModel],
    widths: Sequence[int],
    trial: Trial,
    on_part: Callable[[str, int, Trialled, int, int], None] = lambda *_: None,
) -> tuple[list[Measured], dict[int, Trialled]]:
    """Every part at every width: two passes over the images each, and one for everything at once.

    Args:
        trial: measures a choice of bits with ``gauge``.
        on_part: is told of each: its name, bits, what it costs alone, its number from 1, and how many there are.
    """
    whole: dict[int, Trialled] = {}
    rows: list[Measured] = []
    for bits in widths:
        whole[bits] = trial(dict.fromkeys(gauge.names, bits))
        for part in parts:
            own = set(part.quantizers)
            alone = trial(dict.fromkeys(part.quantizers, bits))
            without = trial({name: bits for name in gauge.names if name not in own})
            back = whole[bits].distance - without.distance
            rows.append(Measured(part.name, part.macs, bits, alone, without, back))
            on_part(part.name, bits, alone, len(rows), len(parts) * len(widths))
    return rows, whole
