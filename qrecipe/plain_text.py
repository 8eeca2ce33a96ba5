"""Text of the user's as messages show it: nothing in it that a terminal would obey or hide, and nothing endless."""

from __future__ import annotations

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
