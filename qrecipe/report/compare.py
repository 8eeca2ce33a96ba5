"""Runs beside one another in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table as RichTable

from ..plain_text import printable, short
from ..study.compared import ABSENT as ABSENT_KEY
from ..study.compared import Group, Table
from ..study.statistics import Difference
from .amounts import ABSENT, amount, size
from .sweep import spread
from .table import compact


def compared_tables(tables: Sequence[Table]) -> Iterator[RichTable | str]:
    """For each kind of data: groups with their differences, what the words mean, and the keys that differ."""
    for table in tables:
        yield _scores(table)
        yield explained(table)
        if table.keys:
            yield "\n".join(_keys(table))


def _scores(table: Table) -> RichTable:
    figures = ("runs", "AP", "difference", "size", "operations")
    drawn = compact(f"AP on the {printable(table.data)}", "group", figures=figures)
    for name in ("AP", "difference"):
        drawn.columns[1 + figures.index(name)].no_wrap = True
    for group in table.groups:
        drawn.add_row(
            printable(group.name),
            str(len(group.runs)),
            spread(group.score()),
            difference_text(group),
            ABSENT if group.bytes is None else size(group.bytes),
            ABSENT if group.operations is None else amount(group.operations),
        )
    return drawn


def difference_text(group: Group) -> str:
    """``+0.012 [+0.004, +0.020] *``; a dash for the baseline."""
    found = group.difference
    if found is None:
        return ABSENT if group.why is None else short(group.why, 40)
    star = " *" if found.is_clear else ""
    return f"{found.mean:+.3f}" + ("" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]{star}")


def explained(table: Table) -> str:
    """What stands behind the differences of a table."""
    beside = {group.beside: None for group in table.groups if group.beside is not None}
    if not beside:
        return "AP: mean and sample standard deviation over seeds; nothing to compare with"
    names = "; ".join(printable(name) for name in beside if name is not None)
    ways = [_way(found) for group in table.groups if (found := group.difference) is not None]
    whys = [f"  {printable(group.name)}: {printable(group.why)}" for group in table.groups if group.why is not None]
    lines = [
        "AP: mean and sample standard deviation over seeds",
        f"difference: of AP to {names if len(beside) == 1 else 'its own baseline: ' + names}",
        *dict.fromkeys(f"  {way}" for way in ways),
        *whys,
        "  * the interval leaves 0 out; each is for itself, and of many some do by chance",
    ]
    return "\n".join(lines)


def _way(found: Difference) -> str:
    percent = f"{100 * found.confidence:g}%"
    if found.low is None:
        return "no interval: a single pair of runs"
    if found.over == "images":
        of = f"the {found.count} images of one pair of runs"
        return f"{percent} interval by bootstrap over {of}: training's chance is not in it"
    return f"{percent} interval by Student's t over {found.count} pairs of runs with a common seed"


def _keys(table: Table) -> Iterator[str]:
    """Three keys or more a line would not be read: one line a value, and who has it."""
    yield f"Keys: {len(table.keys)} differ"
    for key, values in table.keys.items():
        yield f"  {key}"
        for text, names in by_value(values).items():
            yield f"    {short(text, 90)}: {short('; '.join(map(printable, names)), 120)}"


def by_value(values: dict[str, Any]) -> dict[str, list[str]]:
    """Groups by the value that they have, as text."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(value if value == ABSENT_KEY else json.dumps(value, ensure_ascii=False), []).append(name)
    return found
