"""Arguments of a graph's nodes as plain data, and back. What is not known here is refused, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


class Unkeepable(Exception):  # noqa: N818 - no error: what cannot be kept is made anew each time
    """Why a capture is not kept, in words that go on after "because"."""


_TORCH = (torch.dtype, torch.layout, torch.memory_format)
"""Constants of torch, which are written as ``torch.float32``."""
_CONSTANTS = {str(value): value for value in vars(torch).values() if isinstance(value, _TORCH)}


def to_plain(value: Any, other: Callable[[Any], Any]) -> Any:
    """``value`` as JSON holds it. other: gives a list of a tag and plain data for what is not known here.

    A list, and all that is not a string, a bool, a whole number or None, is a list that begins with a tag.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return ["float", value.hex()]
    if kind in (list, torch.fx.immutable_collections.immutable_list):
        return ["list", *(to_plain(item, other) for item in value)]
    if kind is tuple:
        return ["tuple", *(to_plain(item, other) for item in value)]
    if kind in (dict, torch.fx.immutable_collections.immutable_dict):
        return ["dict", *([to_plain(key, other), to_plain(item, other)] for key, item in value.items())]
    if kind is slice:
        return ["slice", *(to_plain(part, other) for part in (value.start, value.stop, value.step))]
    if kind is torch.device:
        return ["device", str(value)]
    if _CONSTANTS.get(str(value)) is value:
        return ["torch", str(value)]
    return other(value)


def from_plain(data: Any, other: Callable[[str, list[Any]], Any]) -> Any:
    """What ``to_plain`` was given.

    Raises:
        ValueError, TypeError, KeyError: it is not what ``to_plain`` writes.
    """
    if not isinstance(data, list):
        return data
    tag, *rest = data
    if tag in _READERS:
        return _READERS[tag](rest)
    if tag == "list":
        return [from_plain(item, other) for item in rest]
    if tag == "tuple":
        return tuple(from_plain(item, other) for item in rest)
    if tag == "dict":
        return {from_plain(key, other): from_plain(item, other) for key, item in rest}
    if tag == "slice":
        return slice(*(from_plain(part, other) for part in rest))
    return other(tag, rest)


_READERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "float": lambda rest: float.fromhex(*rest),
    "device": lambda rest: torch.device(*rest),
    "torch": lambda rest: _CONSTANTS[rest[0]],
}
