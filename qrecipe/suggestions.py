"""What a name that is not known may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.4) -> list[str]:
    """Up to ``count`` of the known names that come close, the closest first.

    Args:
        cutoff: how alike two names must be, from 0 to 1.
    """
    return get_close_matches(name, sorted(known), n=count, cutoff=cutoff)


def closest_are(names: Iterable[str]) -> str | None:
    """``the closest are decoder.0, decoder.1``, or None where there are none."""
    listed = ", ".join(names)
    return f"the closest are {listed}" if listed else None


def did_you_mean(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """``did you mean "size"?``, or None where no known name is near, or the name is no text."""
    near = nearest(name, known, 1, cutoff) if isinstance(name, str) else []
    return meant(near[0]) if near else None


def meant(name: str) -> str:
    """``did you mean "size"?``: the one wording for a name that comes close."""
    return f'did you mean "{name}"?'


def hint(name: str, known: Iterable[str]) -> str:
    """``did you mean "size"? `` before what else a message says, or nothing."""
    near = did_you_mean(name, known)
    return f"{near} " if near else ""
