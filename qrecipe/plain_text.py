"""Text of the user's as messages show it: nothing in it that a terminal would obey or hide, and nothing endless."""

from __future__ import annotations

import re
import unicodedata

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode's categories of control, format, half, private and unassigned characters and of line breaks."""

LONGEST = 60
"""Characters of a value that a message shows."""


def printable(text: str, keep: str = "") -> str:
    """The text with its control characters, half characters and line breaks written as escapes, those in ``keep`` as
    they are."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if character not in keep and unicodedata.category(character) in HIDDEN else character
        for character in text
    )


def short(text: str, limit: int = LONGEST) -> str:
    """The printable text, its end left out where it has more than ``limit`` characters."""
    whole = printable(text[: limit + 1])
    return whole if len(text) <= limit and len(whole) <= limit else whole[: limit - 3] + "..."


def one_line(error: BaseException, limit: int = 300) -> str:
    """What another program says is wrong, on one line, without what is beyond ``limit`` characters."""
    return " ".join(str(error).split())[:limit]


def bounded(text: str, word: int = 1000, line: int = 2000) -> str:
    """The text with the middle left out of words and of lines that are longer: nobody reads them."""
    text = re.sub(rf"\S{{{word + 1},}}", lambda found: _ends(found[0], LONGEST), text)
    return "\n".join(own if len(own) <= line else _ends(own, line // 2) for own in text.split("\n"))


def _ends(text: str, kept: int) -> str:
    return f"{text[:kept]}...{text[-kept:]}"
