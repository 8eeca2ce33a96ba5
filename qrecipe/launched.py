"""Whether this process is one of several that a launcher started, ``torchrun`` or ``accelerate launch``. Light."""

from __future__ import annotations

import os


def processes() -> int:
    """How many there are; 1 without a launcher."""
    return max(_number("WORLD_SIZE", 1), 1) if "RANK" in os.environ else 1


def is_first() -> bool:
    """Whether it is the one that writes and prints; the only one is."""
    return processes() == 1 or _number("RANK", 0) == 0


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
