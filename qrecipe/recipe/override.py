"""One value of a recipe, replaced from outside of its files: by ``--set key.path=value``, or by a sweep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .definition import OVERRIDE, KeyPath, Mark, dotted
from .document import Document, LocatedError, shown
from .extend import RecipeFiles
from .reader import read_yaml
from .schema_check import takes_null

_KEYS = re.compile(r"[A-Za-z_][\w-]*(?:\[[0-9]{1,6}\])*(?:\.[A-Za-z_][\w-]*(?:\[[0-9]{1,6}\])*)*")
_PART = re.compile(r"[A-Za-z_][\w-]*|[0-9]+")
_KEY_REMEDY = "write the keys with dots, for example train.stages[0].epochs"
_REMEDY = "write key.path=value, for example train.stages[0].epochs=3"


@dataclass(frozen=True)
class Override:
    """A key and its value. Of a ``--set`` marks count columns in ``key.path=value``, and a file name in it starts from
    the current folder; else they are of the file that gives it."""

    path: KeyPath
    starts: tuple[Mark, ...]
    value: Document


def read_override(text: str, files: RecipeFiles) -> Override | None:
    """Read ``key.path=value``, the value being YAML; None, and a problem in ``files``, where it cannot be read."""
    file = f"{OVERRIDE}{text}"
    files.folders[file] = Path.cwd()
    keys, equals, value = text.partition("=")
    if not equals or not _KEYS.fullmatch(keys):
        what = f"{shown(keys)} is not a key path" if equals else "an override without ="
        files.problems.append(LocatedError(what, mark=Mark(file, 1, 1), remedy=_REMEDY))
        return None
    path = _path_of(keys)
    offset = len(keys) + 2

    def mark_of(line: int, column: int) -> Mark:
        return Mark(file, line + 1, column + (1 if line else offset))

    starts = tuple(Mark(file, 1, part.start() + 1) for part in _PART.finditer(keys))
    if path[0] == "extends":
        what, remedy = "extends cannot be set from outside", "write a recipe that extends both"
        files.problems.append(LocatedError(what, mark=starts[0], path=path, remedy=remedy))
        return None
    before = len(files.problems)
    document = read_yaml(value, mark_of, files.problems)
    if document is None:
        if len(files.problems) > before:
            return None
        document = Document(None, {(): mark_of(0, 0)})  # nothing after the = is YAML's null
    return Override(path, starts, document)


def override_at(key: str, mark: Mark, value: Document, files: RecipeFiles) -> Override | None:
    """A value that a file gives to ``key.path``; None, and a problem in ``files``, where that is no path.

    mark: where the key stands.
    """
    if not _KEYS.fullmatch(key) or key == "extends":
        what = "extends is no key that can be varied" if key == "extends" else f"{shown(key)} is not a key path"
        remedy = "write a recipe that extends both" if key == "extends" else _KEY_REMEDY
        files.problems.append(LocatedError(what, mark=mark, remedy=remedy))
        return None
    return Override(_path_of(key), tuple(mark for _ in _PART.finditer(key)), value)


def _path_of(keys: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in _PART.findall(keys))


def apply_override(document: Document, override: Override, files: RecipeFiles) -> None:
    """Put an override's value into a recipe, making mappings on the way. Mutates the document."""
    here = document.data
    for depth, part in enumerate(override.path):
        path, start = override.path[: depth + 1], override.starts[depth]
        what = _misfit(here, part, path[:-1])
        if what:
            files.problems.append(LocatedError(what, mark=start, path=path, remedy="indices count from 0"))
            return
        if depth == len(override.path) - 1:
            document.forget(path)
            if override.value.data is None and isinstance(here, dict) and part in here and not takes_null(path):
                del here[part]  # null takes a key back
                return
            here[part] = override.value.data
            document.adopt(path, override.value)
            document.keys[path] = start
            return
        child = here[part] if isinstance(part, int) else here.get(part)
        if child is None:
            child = [] if isinstance(override.path[depth + 1], int) else {}
            here[part] = child
            document.forget(path)
            document.marks[path] = document.keys[path] = start
        here = child


def _misfit(here: object, part: str | int, parent: KeyPath) -> str | None:
    """Why a value has no place for a key or an index, if it has none."""
    if isinstance(part, str):
        return None if isinstance(here, dict) else f"{dotted(parent)} is {shown(here)}, not a mapping"
    if not isinstance(here, list):
        return f"{dotted(parent)} is {shown(here)}, not a list"
    return None if part < len(here) else f"{dotted(parent)} has {len(here)} items"
