"""Relative paths in a recipe become absolute: each starts from the folder of the file that it stands in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .definition import SPLITS, KeyPath, Recipe
from .document import Document, LocatedError
from .extend import RecipeFiles
from .files import at_home

_MODELS = ("model", "teacher")
FACTORIES: tuple[KeyPath, ...] = tuple((model, "factory") for model in _MODELS)
PLAIN: tuple[KeyPath, ...] = (
    ("output",),
    *((model, "weights", kind) for model in _MODELS for kind in ("folder", "file")),
)
EXPANDED: tuple[KeyPath, ...] = tuple(("data", split, kind) for split in SPLITS for kind in ("images", "annotations"))
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")


def resolve_paths(document: Document, files: RecipeFiles, wrong: set[KeyPath], *, data: bool = True) -> None:
    """Make paths absolute, ``~`` the home folder, and expand ``$VAR`` and ``${VAR}`` in those of the data.

    Mutates the document.

    A dollar sign of a name is written ``$$``, before and after, so that a resolved recipe reads as itself.

    Args:
        document: any mapping; values that are not text are passed over.
        wrong: paths that have a problem and stay as they are.
        data: whether a variable must be set; else a path with one that is not stays as it is, from its own folder.
    """
    for path in (*FACTORIES, *PLAIN, *EXPANDED):
        parent: Any = document.data
        for part in path[:-1]:
            parent = parent.get(part) if isinstance(parent, dict) else None
        value = parent.get(path[-1]) if isinstance(parent, dict) else None
        if not isinstance(value, str) or path in wrong:
            continue
        mark = document.marks.get(path)
        folder = files.folders[mark.file] if mark else files.base
        if path in FACTORIES:
            file, _, function = value.rpartition(":")
            parent[path[-1]] = f"{_absolute(folder, file)}:{function}" if file.endswith(".py") else value
        elif path in PLAIN:
            parent[path[-1]] = _absolute(folder, value)
        else:
            expanded, missing = _expanded(value)
            if missing and data:
                files.problems += [_unset(document, path, name) for name in missing]
            elif missing:
                parent[path[-1]] = os.path.normpath(folder.absolute() / value)
            else:
                expanded = at_home(expanded) if value.startswith("~") else expanded
                parent[path[-1]] = os.path.normpath(folder.absolute() / expanded).replace("$", "$$")


def absent_data(recipe: Recipe) -> list[str]:
    """The paths of a recipe's data that are not there, each with its place: where the recipe is written need not be
    where it is run."""
    found: list[str] = []
    for path in EXPANDED if recipe.data.format == "coco" else ():
        value: Any = recipe.resolved
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, str):
            continue
        expanded, missing = _expanded(value)
        for name in missing:
            found.append(f"{recipe.where(path)}: the environment variable {name} {_state(name)} (export {name}=...)")
        if not missing and not os.path.exists(expanded):  # noqa: PTH110 - pathlib raises for names that are too long
            found.append(f"{recipe.where(path)}: there is no {expanded}")
    return found


def unescaped(text: str) -> str:
    """A data path of a resolved recipe as the file system knows it."""
    return text.replace("$$", "$")


def _expanded(text: str) -> tuple[str, list[str]]:
    """The text with variables replaced, and the variables that are not set, or empty."""
    missing: list[str] = []

    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2] or found[3]
        value = os.environ.get(name, "")
        if not value and name not in missing:
            missing.append(name)
        return value

    return _VARIABLE.sub(replace, text), missing


def _unset(document: Document, path: KeyPath, name: str) -> LocatedError:
    what = f"the environment variable {name} {_state(name)}"
    return document.problem(path, what, f"export {name}=..., or write the path out")


def _state(name: str) -> str:
    return "is empty" if name in os.environ else "is not set"


def _absolute(folder: Path, path: str) -> str:
    return os.path.normpath(folder.absolute() / at_home(path))
