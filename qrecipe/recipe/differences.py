"""Where two pieces of plain data differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from .definition import KeyPath

Pair = tuple[int | None, int | None]
Pairing = Callable[[list[Any], list[Any]], list[Pair] | None]
"""Which items of two lists belong together, by place; None on a side that has no such item. None in place of pairs:
the lists are compared whole."""


@dataclass(frozen=True)
class Difference:
    """A value that differs. at_a, at_b: its path on either side, None where it is absent. a, b: the values."""

    at_a: KeyPath | None
    at_b: KeyPath | None
    a: Any
    b: Any


def differing(a: Any, b: Any, pairs: Pairing, at_a: KeyPath = (), at_b: KeyPath = ()) -> Iterator[Difference]:
    """What differs between two pieces of plain data, in the first one's order.

    1 and 1.0 are one value, 1 and true are not.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            if key not in b:
                yield Difference((*at_a, key), None, a[key], None)
            elif key not in a:
                yield Difference(None, (*at_b, key), None, b[key])
            else:
                yield from differing(a[key], b[key], pairs, (*at_a, key), (*at_b, key))
    elif isinstance(a, list) and isinstance(b, list) and (found := pairs(a, b)) is not None:
        for one, other in found:
            if other is None:
                assert one is not None
                yield Difference((*at_a, one), None, a[one], None)
            elif one is None:
                yield Difference(None, (*at_b, other), None, b[other])
            else:
                yield from differing(a[one], b[other], pairs, (*at_a, one), (*at_b, other))
    elif a != b or isinstance(a, bool) != isinstance(b, bool):
        yield Difference(at_a, at_b, a, b)


def by_place(a: list[Any], b: list[Any]) -> list[Pair] | None:
    """Lists of one length item by item, others whole."""
    return [(place, place) for place in range(len(a))] if len(a) == len(b) else None


def by_likeness(a: list[Any], b: list[Any]) -> list[Pair] | None:
    """Lists of mappings item by item: one that was put in moves the others, and does not make them differ."""
    if not any(isinstance(item, dict) for item in (*a, *b)):
        return None
    texts = [[json.dumps(item, sort_keys=True, default=str) for item in items] for items in (a, b)]
    found: list[Pair] = []
    for tag, low_a, high_a, low_b, high_b in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        both = min(high_a - low_a, high_b - low_b)
        found += [(low_a + step, low_b + step) for step in range(both)]
        found += [(one, None) for one in range(low_a + both, high_a)]
        found += [(None, other) for other in range(low_b + both, high_b)]
    return found
