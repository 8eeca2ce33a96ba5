"""A recipe's text after reading: plain data, where each value and each key stands, and what is wrong with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecipeError
from .definition import KeyPath, Mark, Spot, dotted


class LocatedError(RecipeError):
    """One mistake in a recipe.

    Args:
        mark: file, line and column to point at; None for data that came from no file.
        path: the value's place in the recipe; None where the text could not be read that far.
        where: the place in words where it is neither: a file that cannot be read.
    """

    def __init__(
        self,
        what: str,
        *,
        mark: Mark | None = None,
        path: KeyPath | None = None,
        remedy: str | None = None,
        where: str | None = None,
    ) -> None:
        parts = [str(mark)] if mark else []
        parts += [dotted(path)] if path is not None else []
        super().__init__(what, where=Spot(where or ": ".join(parts) or "recipe", mark, path), remedy=remedy)
        self.mark = mark
        self.path = path


@dataclass
class Document:
    """Plain data (dict, list, str, int, float, bool, None) with marks.

    marks: where each value stands, by key path; keys: where each mapping key stands. Both empty for data from no file.
    """

    data: Any
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)

    def problem(self, path: KeyPath, what: str, remedy: str | None = None, *, at_key: bool = False) -> LocatedError:
        """A problem at a value, or at its key; at the nearest parent that has a mark where it has none itself."""
        mark = self.keys.get(path) if at_key else None
        for length in range(len(path), -1, -1):
            mark = mark or self.marks.get(path[:length])
        return LocatedError(what, mark=mark, path=path, remedy=remedy)

    def forget(self, path: KeyPath) -> None:
        """Drop the marks of a value and of all within it. Mutates the document."""
        for marks in (self.marks, self.keys):
            for known in [known for known in marks if known[: len(path)] == path]:
                del marks[known]

    def part(self, path: KeyPath) -> Document:
        """A copy of what stands at a path, as a document of its own."""
        data, depth = self.data, len(path)
        for name in path:
            data = data[name]
        marks, keys = (
            {known[depth:]: mark for known, mark in marks.items() if known[:depth] == path}
            for marks in (self.marks, self.keys)
        )
        keys.pop((), None)
        return Document(copy.deepcopy(data), marks, keys)

    def adopt(self, path: KeyPath, other: Document) -> None:
        """Take over the marks of another document whose root stands at ``path`` here. Mutates the document."""
        self.marks.update({path + inner: mark for inner, mark in other.marks.items()})
        self.keys.update({path + inner: mark for inner, mark in other.keys.items()})


def merged(low: Document, high: Document) -> Document:
    """Two documents as one: mappings are merged, everything else of ``high`` replaces what ``low`` has.

    What comes of ``high`` is a copy: a file that several recipes extend is read once, and stays what it is.
    """
    replaced: set[KeyPath] = set()

    def merge(under: Any, over: Any, path: KeyPath) -> Any:
        if isinstance(under, dict) and isinstance(over, dict):
            both = dict(under)
            for key, value in over.items():
                both[key] = merge(under[key], value, (*path, key)) if key in under else copy.deepcopy(value)
            return both
        replaced.add(path)
        return copy.deepcopy(over)

    data = merge(low.data, high.data, ())

    def stays(path: KeyPath) -> bool:
        return not any(path[:length] in replaced for length in range(len(path) + 1))

    marks = {path: mark for path, mark in low.marks.items() if stays(path)} | high.marks
    keys = {path: mark for path, mark in low.keys.items() if stays(path)} | high.keys
    return Document(data, marks, keys)


def shown(value: Any) -> str:
    """A value as a message names it: short, on one line, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, float) and value - value != 0:  # NaN and both infinities
        text = ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    elif isinstance(value, int) and value.bit_length() > 128:  # Python refuses to print integers of thousands of digits
        return "a huge number"
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
