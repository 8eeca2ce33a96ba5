"""What was measured, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .machine import Machine
from .timing import Latency

MILLI = 1000
HEAD = ("network", "in", "MB", "ms", "middle half", "images/s", "integer products")


@dataclass(frozen=True)
class Row:
    """One network in one program.

    network: what it is. program: where it runs. size: bytes of its files. latency: of one batch. integer: how many of
    its operators multiply integers, where the program says so.
    """

    network: str
    program: str
    size: int
    latency: Latency
    integer: int | None = None


@dataclass(frozen=True)
class Left:
    """What was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Benched:
    """title: what was measured. shape: (batch, 3, height, width). macs: multiply-accumulates of one image, where they
    are known. calibration: what other programs were calibrated on. programs: their versions."""

    title: str
    shape: tuple[int, ...]
    threads: int
    rounds: int
    macs: int | None
    calibration: str | None
    machine: Machine
    programs: Mapping[str, str]
    rows: tuple[Row, ...]
    left: tuple[Left, ...]

    def to_dict(self) -> dict[str, Any]:
        plain = asdict(self)
        plain["rows"] = [{**asdict(row), "images_per_second": self._rate(row)} for row in self.rows]
        return plain

    def _rate(self, row: Row) -> float:
        return self.shape[0] / row.latency.median

    def cells(self) -> list[tuple[str, ...]]:
        """Of each row, in the order of ``HEAD``."""
        return [
            (
                row.network,
                row.program,
                f"{row.size / 1e6:.2f}",
                f"{row.latency.median * MILLI:.1f}",
                f"{row.latency.lower * MILLI:.1f}-{row.latency.upper * MILLI:.1f}",
                f"{self._rate(row):.1f}",
                "" if row.integer is None else str(row.integer),
            )
            for row in self.rows
        ]

    def lines(self) -> list[str]:
        """What stands around the table."""
        programs = ", ".join(f"{name} {version}" for name, version in self.programs.items())
        macs = "" if self.macs is None else f"; {self.macs / 1e9:.2f} G multiply-accumulates an image"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        found = [
            f"{'x'.join(map(str, self.shape))}, {threads}, medians of {self.rounds} interleaved rounds{macs}",
            self.machine.line(),
            programs,
        ]
        if self.calibration is not None:
            found.append(f"other programs calibrated on {self.calibration}")
        return [*found, *(f"left out: {one.name}: {one.reason}" for one in self.left)]
