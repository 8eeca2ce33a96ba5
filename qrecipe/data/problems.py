"""Collects every problem of a data set, to report them all at once."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..plain_text import short

SHOWN = 10
"""How many items of one kind a message names before it only counts."""

LONGEST_ITEM = 300
"""Characters of an item: enough for a path."""


class Problems:
    """Problems by kind, in the order in which the kinds were first seen."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, item: object) -> None:
        """Note one problem: ``kind`` in words ("missing images"), ``item`` an id or whatever finds it."""
        self._kinds.setdefault(kind, []).append(short(str(item), LONGEST_ITEM))

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def raise_any(self, where: Path) -> None:
        """Raises: DataError with one line per kind, if there is any problem."""
        if self._kinds:
            lines = [f"{kind}: {listing(items)}" for kind, items in self._kinds.items()]
            raise DataError(
                "the data cannot be used:\n  " + "\n  ".join(lines),
                where=str(where),
                remedy="correct the json or the image folder",
            )


def listing(items: list[str]) -> str:
    """``12 (3, 4, 5, ... and 2 more)``: the count and the first ten items."""
    shown = ", ".join(items[:SHOWN])
    more = f", ... and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{len(items)} ({shown}{more})"
