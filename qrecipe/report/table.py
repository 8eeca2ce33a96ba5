"""The one form that tables have: names whole and figures aligned within the 80 columns of a plain terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def compact(title: str, *names: str, figures: tuple[str, ...] = (), **options: Any) -> Table:
    """A table without frame, two spaces between columns: ``names`` left, then ``figures`` right."""
    table = Table(
        title=Text(title, style="table.title"),  # as a text: a name may hold what rich would take for its markup
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        **options,
    )
    for name in names:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", overflow="fold")
    return table
