"""Latencies as a table in a terminal."""

from __future__ import annotations

from rich.table import Table

from ..latency import Benched
from ..latency.result import HEAD
from .table import compact


def latency_table(found: Benched) -> Table:
    table = compact(found.title, *HEAD[:2], figures=HEAD[2:])
    for cells in found.cells():
        table.add_row(*cells)
    return table
