"""Two recipes side by side in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from ..planning import Comparison, KeyChange, SiteChange
from .amounts import BIT_OPERATIONS, OPERATIONS, amount, size
from .table import compact

NAMES = {"bytes": "weights, scales, offsets", "macs": "multiply-accumulates", "bit_operations": "bit operations"}
COSTS = ("parameters", "macs", "operations", "bit_operations")
LIMIT = 70


def comparison_of_recipes(found: Comparison) -> Iterator[Table | str]:
    """What ``qrecipe diff`` prints: keys, then sites and totals where the models were built."""
    yield f"A: {found.a}\nB: {found.b}"
    yield "\n".join(_keys(found)) if found.keys else "Keys: no difference"
    if found.totals is None or found.sites is None:
        return
    if not found.same_model:
        yield "The recipes' models or data differ: both were built, and sites are compared by name."
    yield "\n".join(_sites(found.sites)) if found.sites else "Sites: no difference"
    yield _totals(found)
    yield f"{OPERATIONS}\n{BIT_OPERATIONS}"


def _keys(found: Comparison) -> Iterator[str]:
    """Three lines a key: its path, and below it both values with their places."""
    yield f"Keys: {len(found.keys)} differ"
    for change in found.keys:
        yield f"  {change.key}"
        yield f"    A: {_side(change, True)}"
        yield f"    B: {_side(change, False)}"


def _sites(changes: Sequence[SiteChange]) -> Iterator[str]:
    """Two lines for operands that change alike: which they are, and the quantizer before and after."""
    groups: dict[tuple[str, str, str, str], list[SiteChange]] = {}
    for one in changes:
        groups.setdefault((one.role, one.operator, one.a, one.b), []).append(one)
    yield f"Sites: {sum(one.count for one in changes)} differ"
    for (role, operator, before, after), members in groups.items():
        count = sum(one.count for one in members)
        yield f"  {role}: {operator} {', '.join(one.operand for one in members)} ({count} site{'s'[: count != 1]})"
        yield f"    {before} -> {after}"


def _side(change: KeyChange, first: bool) -> str:
    there, value, place = (change.in_a, change.a, change.place_a) if first else (change.in_b, change.b, change.place_b)
    if not there:
        return "-"
    return _short(value) + (f"  ({place})" if place else "")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 3]}..."


def _totals(found: Comparison) -> Table:
    table = compact("In all", "", figures=("A", "B", "B / A"))
    for total in found.totals or ():
        form = size if total.name == "bytes" else amount if total.name in COSTS else str
        ratio = f"{total.b / total.a:.2f}" if total.a else "."
        table.add_row(NAMES.get(total.name, total.name), form(total.a), form(total.b), ratio)
    return table
