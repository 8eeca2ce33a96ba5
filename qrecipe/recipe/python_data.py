"""A recipe given as Python data, as a document without marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .definition import KeyPath
from .document import Document, LocatedError, shown
from .reader import MAX_DEPTH, MAX_VALUES


def plain_document(data: object, problems: list[LocatedError]) -> Document | None:
    """A copy in dict, list, str, int, float, bool and None; None, and a problem, where ``data`` is no recipe.

    Tuples become lists and paths text. What is none of these, and keys that are not text, are problems.
    """
    if not isinstance(data, Mapping):
        problems.append(LocatedError(f"a recipe is a mapping, found {_named(data)}", path=()))
        return None
    copier = _Copier(problems)
    copied = copier.copy(data, ())
    return None if copier.left < 0 else Document(copied)


class _Copier:
    def __init__(self, problems: list[LocatedError]) -> None:
        self.problems = problems
        self.left = MAX_VALUES

    def copy(self, value: Any, path: KeyPath) -> Any:
        self.left -= 1
        if self.left < 0 or len(path) > MAX_DEPTH:
            if self.left >= -1:  # the first time
                what = f"more than {MAX_VALUES} values, or more than {MAX_DEPTH} levels"
                self.problems.append(LocatedError(what, path=path[:3]))
            self.left = -2
            return None
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    self.problems.append(LocatedError(f"the key {_named(key)} is not text", path=path))
            return {str(key): self.copy(item, (*path, key)) for key, item in value.items() if isinstance(key, str)}
        if isinstance(value, list | tuple):
            return [self.copy(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, Path):
            return str(value)
        if value is None or type(value) in (str, float, bool) or (type(value) is int and value.bit_length() <= 128):
            return value
        self.problems.append(LocatedError(f"{_named(value)} has no place in a recipe", path=path))
        return None


def _named(value: object) -> str:
    known = value is None or isinstance(value, str | int | float | bool | Mapping | list | tuple)
    return shown(value) if known else f"a {type(value).__name__}"
