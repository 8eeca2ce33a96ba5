"""A run's exported files and their latencies, as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...plain_text import printable, short
from ...run.deployed import bench_of, exports_of
from ..amounts import ABSENT, size, three_places

MILLI = 1000


@dataclass(frozen=True)
class Table:
    """heads, rows: as text; the first ``words`` columns are no figures. lines: what stands below."""

    name: str
    heads: tuple[str, ...]
    words: int
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...] = ()


def deployed(folder: Path) -> tuple[Table, ...]:
    """Those that there are. Raises: RunError: something is damaged."""
    files, bench = exports_of(folder), bench_of(folder)
    heads = ("file", "mode", "runtime", "size", "AP of the file", "of the student", "points", "images")
    made = [Table("Exported files", heads, 3, tuple(_file(one) for one in files))] if files else []
    return (*made, *([_latencies(bench)] if bench else []))


def _file(one: Mapping[str, Any]) -> tuple[str, ...]:
    parity = one["parity"]
    own = short(Path(one["path"]).name), one["mode"]
    if parity is None:
        return (*own, "not compared", size(one["size"]), *[ABSENT] * 4)
    return (
        *own,
        f"{parity['runtime']} {parity['version']}",
        size(one["size"]),
        three_places(parity["file"]),
        three_places(parity["student"]),
        _points(parity),
        f"{parity['images']} of {parity['split']}",
    )


def _points(parity: Mapping[str, Any]) -> str:
    if parity["points"] is None:
        return ABSENT
    return f"{parity['points']:+.2f}" + ("" if parity["passed"] else " (too much)")


def _latencies(bench: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            printable(row["network"]),
            printable(row["program"]),
            size(row["size"]),
            f"{row['latency']['median'] * MILLI:.1f}",
            f"{row['latency']['lower'] * MILLI:.1f}-{row['latency']['upper'] * MILLI:.1f}",
            f"{row['images_per_second']:.1f}",
        )
        for row in bench["rows"]
    )
    threads = f"{bench['threads']} thread{'s' * (bench['threads'] != 1)}"
    machine = f"{bench['machine']['processor']}, {bench['machine']['cores']} cores"
    line = (
        f"{'x'.join(map(str, bench['shape']))}, {threads}, medians of {bench['rounds']} interleaved rounds; {machine}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in bench["programs"].items())
    heads = ("network", "in", "size", "ms", "middle half", "images/s")
    return Table("Latency", heads, 2, rows, (printable(line), printable(versions)))
