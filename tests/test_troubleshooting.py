"""``docs/troubleshooting.md``: every message that it explains is one that the code says."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import qrecipe

PACKAGE = Path(qrecipe.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.split("## Exit codes")[0].splitlines() if line.startswith("| `")]
MESSAGES = [message for row in ROWS for message in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@cache
def said() -> str:
    """The text of every string of the package; what an f-string puts in is a line break."""
    texts: list[str] = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\n" for part in node.values]
                texts.append("".join(str(part) for part in parts))
    return "\n".join(texts)


def test_twenty_messages_have_a_reason_and_a_remedy() -> None:
    assert len(ROWS) >= 20
    for row in ROWS:
        cells = [cell.strip() for cell in re.split(r" \| ", row.strip("| "))]
        assert len(cells) == 3, row
        assert all(cells), row


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_that_the_code_says(message: str) -> None:
    """Its longest piece without what differs: capitals, numbers, places."""
    pieces = [piece.strip() for piece in re.split(r"\b[A-Z]+\b|[0-9]+|\.\.\.|[:;()\"\[\]]", message)]
    assert pieced(max(pieces, key=len).split()) <= 4, "no string of the code says this"


def pieced(words: list[str]) -> int:
    """In how few pieces, each whole words of one string, a text is found."""
    count = 0
    while words:
        whole = next((end for end in range(len(words), 0, -1) if " ".join(words[:end]) in said()), 0)
        if not whole:
            return len(words) + 9
        count, words = count + 1, words[whole:]
    return count
