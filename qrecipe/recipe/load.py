"""From a file or from Python data to a ``Recipe``, or to all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .build import build_recipe
from .consistency import consistency_problems
from .definition import Recipe
from .document import Document
from .extend import RecipeFiles
from .override import Override, apply_override, read_override
from .paths import resolve_paths
from .python_data import plain_document
from .schema_check import shape_problems


def load_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    data: bool = True,
    unwritten: Mapping[Path, str] = MappingProxyType({}),
    changes: Sequence[Override] = (),
) -> Recipe:
    """Read a recipe, with the recipes that it extends.

    Args:
        path: the YAML file; its name without ending is the recipe's name where it gives none.
        overrides: ``key.path=value``, applied in order over everything else; the value is YAML, and a relative path in
            it starts from the current folder.
        data: whether the data will be read; without it, an environment variable in its paths need not be set, and
            stays there by its name.
        unwritten: texts of recipe files that are not there yet, by their path; they are read as if they were.
        changes: values that another file puts into the recipe, before the overrides; used up by it.

    Raises:
        RecipeErrors: with every problem found, each a ``LocatedError`` with its ``mark``.
    """
    file = Path(path)
    files = RecipeFiles(file.parent.absolute(), unwritten)
    document = files.read(file)
    for change in changes:
        source = change.starts[0].file
        files.folders.setdefault(source, Path(source).parent.absolute())
    all_changes = [*changes, *(read_override(text, files) for text in overrides)]
    if document is not None:
        return _checked(document, all_changes, file.stem, files, data=data)
    files.finish()
    raise AssertionError("a recipe that cannot be read leaves a problem")


def recipe_from_mapping(
    data: Mapping[str, Any],
    name: str = "recipe",
    base_folder: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """A recipe from Python data: a resolved recipe (``Recipe.resolved``), or one written in Python.

    Args:
        data: the keys of a recipe file; left as it is.
        name: the recipe's name where ``data`` gives none.
        base_folder: where relative paths start; the current folder by default.
        overrides: as in ``load_recipe``.

    Raises:
        RecipeErrors: with every problem found; there is no file to point at, only the place in ``data``.
    """
    files = RecipeFiles(Path.cwd() if base_folder is None else Path(base_folder).absolute())
    document = plain_document(data, files.problems)
    changes = [read_override(text, files) for text in overrides]
    if document is not None:
        return _checked(files.extend(document, files.base), changes, name, files)
    files.finish()
    raise AssertionError("data that is no recipe leaves a problem")


def _checked(
    document: Document, changes: Sequence[Override | None], name: str, files: RecipeFiles, *, data: bool = True
) -> Recipe:
    """The recipe of a document with changes, once everything about it is in order.

    Raises: RecipeErrors.
    """
    for change in changes:
        if change is not None:
            apply_override(document, change, files)
    document.data.setdefault("name", name)
    train = document.data.get("train")
    if isinstance(train, dict) and train.get("precision") is False:
        train["precision"] = "no"  # an unquoted no, which YAML reads as false
    wrong = {problem.path for problem in files.problems if problem.path}
    shape = shape_problems(document, complete=not files.incomplete)
    files.problems += [problem for problem in shape if problem.path not in wrong]
    wrong |= {problem.path for problem in shape if problem.path}
    if not files.incomplete:
        files.problems += consistency_problems(document, wrong)
    resolve_paths(document, files, wrong, data=data)
    files.finish()
    return build_recipe(document)
