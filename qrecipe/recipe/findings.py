"""How checks of a recipe look into it, before anything of it is known to be right, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .definition import KeyPath

#: The path to point at, what is wrong, and the remedy.
Finding = tuple[KeyPath, str, str]


def value_at(data: Any, *path: str | int) -> Any:
    """The value at a path; None where there is none."""
    for part in path:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and part < len(data) else None
        else:
            data = data.get(part) if isinstance(data, Mapping) else None
    return data


def mapping_at(data: Any, *path: str | int) -> Mapping[str, Any]:
    found = value_at(data, *path)
    return found if isinstance(found, Mapping) else {}


def each_at(data: Any, *path: str) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """The mappings in a list, with their paths."""
    items = value_at(data, *path)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, Mapping):
            yield (*path, index), item


def given_keys(mapping: Mapping[str, Any], *keys: str) -> list[str]:
    """Which of the keys have a value; null counts as absent, so that a base's key can be taken back."""
    return [key for key in keys if mapping.get(key) is not None]


def either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
