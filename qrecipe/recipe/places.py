"""Where a value of a recipe stands: its path of keys, and its mark in a file."""

from __future__ import annotations

from dataclasses import dataclass

KeyPath = tuple[str | int, ...]

OVERRIDE = "--set "
LONGEST = 200
"""Characters of a ``--set`` that a message shows."""


@dataclass(frozen=True)
class Mark:
    """Where a value stands: file, line and column, both from 1. A ``--set`` is ``OVERRIDE`` and its text as a file."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        file = (
            self.file
            if len(self.file) <= LONGEST or not self.file.startswith(OVERRIDE)
            else self.file[:LONGEST] + "..."
        )
        return f"{file}:{self.line}:{self.column}"


class Spot(str):
    """A place as messages name it, ``file:line:column: dotted.path``, that still knows its mark and its path."""

    mark: Mark | None
    path: KeyPath | None

    def __new__(cls, text: str, mark: Mark | None = None, path: KeyPath | None = None) -> Spot:
        made = super().__new__(cls, text)
        made.mark, made.path = mark, path
        return made


def dotted(path: KeyPath) -> str:
    """``quantize.rules[2].match`` of a key path."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if part.isprintable() else ascii(part)[1:-1]  # a line break or an escape in a quoted key
            text += f".{word}" if text else word
    return text or "recipe"
