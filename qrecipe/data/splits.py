"""The splits that a recipe names, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..recipe.definition import SPLITS, DataSpec, SplitSpec
from .coco import CocoIndex, read_coco
from .synthetic import synthetic_splits


def resolve_splits(data: DataSpec, names: Sequence[str] = SPLITS, cache: Path | None = None) -> dict[str, CocoIndex]:
    """Read the splits ``names`` that ``data`` has; the synthetic set is made where it is not in ``cache`` yet.

    Raises: DataError with the problems of all splits together, or when their categories differ.
    """
    given = split_specs(data, cache)
    found: dict[str, CocoIndex] = {}
    problems: list[DataError] = []
    for name in names:
        if name in given:
            try:
                found[name] = read_coco(given[name], data.limit)
            except DataError as error:
                problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise DataError("\n".join(str(problem) for problem in problems))
    _check_categories(found)
    return found


def split_specs(data: DataSpec, cache: Path | None = None) -> dict[str, SplitSpec]:
    """Folder and json of every split that ``data`` has, by name."""
    if data.format == "synthetic":
        return synthetic_splits(data.synthetic, cache)
    given = {"train": data.train, "val": data.val, "test": data.test}
    return {name: split for name, split in given.items() if split is not None}


def _check_categories(found: dict[str, CocoIndex]) -> None:
    if not found:
        return
    first, *others = found
    expected = {category.id: category.name for category in found[first].categories}
    for name in others:
        seen = {category.id: category.name for category in found[name].categories}
        differing = sorted(key for key in expected.keys() | seen.keys() if expected.get(key) != seen.get(key))
        if differing:
            listed = ", ".join(
                f"{key} ({expected.get(key, 'absent')} / {seen.get(key, 'absent')})" for key in differing[:10]
            )
            raise DataError(
                f"{len(differing)} categories differ between {first} and {name}: {listed}",
                where=str(found[name].annotations),
                remedy="give every split the same list of categories",
            )
