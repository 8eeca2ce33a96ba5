"""The line that a problem points at, with a caret under its column, as compilers show it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from rich.cells import cell_len
from rich.text import Text

from ..plain_text import HIDDEN
from ..recipe.definition import OVERRIDE, Mark
from ..recipe.files import UnreadableError, lines_of, source_lines

TAB = 4
CUT = "…"
SHORTEST = 20
"""Cells of a line that are shown however narrow the terminal is."""


def excerpt(mark: Mark, width: int) -> list[Text]:
    """Source line and caret as two lines of at most ``width`` cells; empty where the line can no longer be read.

    What does not fit is cut around the caret, tabs are widened, and characters that a terminal would obey or hide are
    replaced.
    """
    lines = _lines(mark)
    if lines is None or mark.line > len(lines):
        return []
    source = lines[mark.line - 1]
    number = "" if mark.file.startswith(OVERRIDE) else str(mark.line)
    gutter = max(4, len(number) + 2)
    if not source.strip() and mark.line == len(lines):
        shown, caret = "(the end of the file)" if number else "(the end of the value)", 0
    else:
        shown, caret = _cut(_plain(source), min(mark.column - 1, len(source)), max(SHORTEST, width - gutter - 3))
    return [
        Text.assemble((f"{number:>{gutter}} | ", "cyan"), shown),
        Text.assemble((f"{'':>{gutter}} | ", "cyan"), " " * caret, ("^", "bold red")),
    ]


def _lines(mark: Mark) -> list[str] | None:
    if mark.file.startswith(OVERRIDE):
        return lines_of(mark.file.removeprefix(OVERRIDE))
    try:
        return source_lines(Path(mark.file))
    except UnreadableError:  # it was there when it was read; its problem is said in any case
        return None


def _plain(line: str) -> list[str]:
    """What to print for each character of a line."""
    cells: list[str] = []
    at = 0
    for character in line:
        if character == "\t":
            cells.append(" " * (TAB - at % TAB))
        elif unicodedata.category(character) in HIDDEN:
            cells.append("\N{REPLACEMENT CHARACTER}")
        else:
            cells.append(character)
        at += cell_len(cells[-1])
    return cells


def _cut(cells: list[str], at: int, room: int) -> tuple[str, int]:
    """The part of a line around the character ``at``, and the cells before that character in it."""
    if cell_len("".join(cells)) <= room:
        return "".join(cells), cell_len("".join(cells[:at]))
    start, end = at, at
    used = 2 * cell_len(CUT)
    while True:  # grow to both sides, two thirds of the room behind the caret
        left = start > 0 and used + cell_len(cells[start - 1]) <= room
        right = end < len(cells) and used + cell_len(cells[end]) <= room
        if not left and not right:
            break
        if right and (not left or end - at <= 2 * (at - start)):
            used += cell_len(cells[end])
            end += 1
        else:
            start -= 1
            used += cell_len(cells[start])
    before = (CUT if start else "") + "".join(cells[start:at])
    return before + "".join(cells[at:end]) + (CUT if end < len(cells) else ""), cell_len(before)
