"""A sweep file: a base recipe, and what is varied in it. Read with places as a recipe is."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from ..suggestions import did_you_mean
from .definition import KeyPath, Mark, Recipe
from .document import Document, LocatedError, shown
from .dump import dump
from .extend import RecipeFiles
from .files import at_home
from .given import without_weights
from .load import load_recipe
from .override import Override, override_at

KEYS = ("base", "set", "axes", "also", "seeds", "output")
OF_EACH_RUN = ("name", "output", "seed")
"""Keys that every run of a sweep has of its own."""
MOST_RUNS = 10_000
_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,59}")
_BEGINS = "a sweep begins with base: RECIPE.yaml"


@dataclass(frozen=True)
class Variant:
    """One value of an axis. changes: what it puts into the base recipe. mark: where it stands."""

    name: str
    changes: tuple[Override, ...]
    mark: Mark


@dataclass(frozen=True)
class SweepFile:
    """A sweep as it is written.

    common: what all runs change in the base. axes: variants by the axis's name; every combination is run.
    also: variants outside of these combinations. seeds: each is a run of every variant; none is the base's own.
    output: absolute, or None for ``runs/NAME``.
    """

    path: Path
    base: Path
    common: tuple[Override, ...]
    axes: Mapping[str, tuple[Variant, ...]]
    also: tuple[Variant, ...]
    seeds: tuple[int, ...]
    output: Path | None
    marks: Mapping[KeyPath, Mark] = field(repr=False, default_factory=dict)

    @property
    def variants(self) -> list[tuple[Variant, ...]]:
        """All combinations of the axes, the last axis fastest, then the others."""
        combined = list(product(*self.axes.values())) if self.axes or not self.also else []
        return [*combined, *((one,) for one in self.also)]

    def recipe(
        self, parts: Sequence[Variant], seed: int | None, overrides: Sequence[str] = (), random_weights: bool = False
    ) -> Recipe:
        """The recipe of one run.

        Args:
            parts: a variant of each axis; what a later one changes is over an earlier one's.
            overrides: ``key.path=value``, over all of it. random_weights: leave the recipe's weights out.

        Raises:
            RecipeErrors: everything that is wrong with it, at its place in the base or in the sweep file.
        """
        mark = parts[0].mark if parts else self.marks[()]
        own = [_own("name", name_of(parts), mark)] if parts else []
        own += [_own("seed", seed, self.marks.get(("seeds",), mark))] if seed is not None else []
        changes = [*self.common, *own, *(change for part in parts for change in part.changes)]
        found = load_recipe(self.base, tuple(overrides), changes=copy.deepcopy(changes))
        return without_weights(found) if random_weights else found


def name_of(parts: Sequence[Variant]) -> str:
    """``both, 4-4-8``: how a combination of variants is called."""
    return ", ".join(part.name for part in parts)


def read_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file; the recipes that it asks for are read by :meth:`SweepFile.recipe`.

    Raises:
        RecipeErrors: with every problem found in the file itself, each a ``LocatedError`` with its ``mark``.
    """
    path = Path(path)
    files = RecipeFiles(path.parent.absolute())
    document = files.read_alone(path, "a sweep", _BEGINS)
    if document is None:
        files.finish()
        raise AssertionError("a sweep that cannot be read leaves a problem")
    found = _Reading(document, files).sweep(path)
    files.finish()
    return found


class _Reading:
    """Turns the document into a sweep, noting what is wrong with it."""

    def __init__(self, document: Document, files: RecipeFiles) -> None:
        self.document, self.files = document, files

    def sweep(self, path: Path) -> SweepFile:
        data = self.document.data
        if "base" not in data and ("model" in data or "extends" in data):
            mark = self.document.marks[()]
            self.files.problems.append(LocatedError("this is a recipe, and no sweep", mark=mark, remedy=_BEGINS))
            self.files.finish()
        for key in [key for key in data if key not in KEYS]:
            near = did_you_mean(key, KEYS, cutoff=0.5)
            self.wrong((key,), "unknown key", near or f"a sweep has {', '.join(KEYS)}", at_key=True)
        folder = path.parent
        base, output = data.get("base"), data.get("output")
        if not isinstance(base, str) or not base:
            self.wrong(("base",), "missing" if "base" not in data else f"expected a file, found {shown(base)}", _BEGINS)
        if output is not None and (not isinstance(output, str) or not output):
            self.wrong(("output",), f"expected a folder, found {shown(output)}")
        common = self.changes((), {key: ("set", key) for key in self.mapping("set")})
        axes = {name: self.axis(("axes", name), value) for name, value in self.mapping("axes").items()}
        also = tuple(self.variant(("also", name), name, value) for name, value in self.mapping("also").items())
        seeds = self.seeds(data.get("seeds", []))
        if not (axes or also or seeds or self.files.problems):
            mark = self.document.marks[()]
            self.files.problems.append(
                LocatedError("nothing is varied", mark=mark, remedy="axes, also or seeds say what")
            )
        count = (math.prod(map(len, axes.values())) + len(also)) * max(1, len(seeds))
        if count > MOST_RUNS:
            self.wrong(("axes",), f"makes {count} runs", f"at most {MOST_RUNS} are one sweep")
        return SweepFile(
            path,
            Path(os.path.normpath(folder / at_home(str(base)))),
            common,
            axes,
            also,
            seeds,
            None if output is None else folder.absolute() / at_home(str(output)),
            self.document.marks,
        )

    def axis(self, path: KeyPath, value: Any) -> tuple[Variant, ...]:
        """A list of values of the recipe's key that the axis is called, or named variants."""
        if isinstance(value, dict) and value:
            return tuple(self.variant((*path, name), name, own) for name, own in value.items())
        if not isinstance(value, list) or not value:
            what = f"expected a list of values or named variants, found {shown(value) if value else 'none'}"
            self.wrong(path, what, "for example train.batch_size: [8, 16]")
            return ()
        key = str(path[-1])
        names = [_value_name(key, own, index) for index, own in enumerate(value)]
        for index, name in enumerate(names):
            if name in names[:index]:
                self.wrong((*path, index), f"{shown(value[index])} is there already", "keep one of the two")
        return tuple(
            Variant(name, self.changes(path, {key: (*path, index)}), self.document.marks[(*path, index)])
            for index, name in enumerate(names)
        )

    def variant(self, path: KeyPath, name: str, value: Any) -> Variant:
        """What a name stands for: keys of the recipe and their values."""
        mark = self.document.keys[path]
        if not _NAME.fullmatch(name):
            what = f"{shown(name)} is no name of a variant"
            self.wrong(path, what, "1 to 60 characters, no slash, no leading dot", at_key=True)
        if isinstance(value, dict):
            return Variant(name, self.changes(path, {key: (*path, key) for key in value}), mark)
        what = f"expected keys of the recipe and their values, found {shown(value)}"
        self.wrong(path, what, "{} is the base recipe as it is")
        return Variant(name, (), mark)

    def changes(self, path: KeyPath, places: Mapping[str, KeyPath]) -> tuple[Override, ...]:
        """Values of the document as overrides. places: by key of the recipe, where in the document its value is."""
        found: list[Override] = []
        for key, place in places.items():
            mark = self.document.keys.get(place) or self.document.keys[path]
            change = override_at(key, mark, self.document.part(place), self.files)
            if change is not None and self.is_free(change, path):
                found.append(change)
        return tuple(found)

    def is_free(self, change: Override, path: KeyPath) -> bool:
        """Whether a variant may change the key."""
        key = change.path[0]
        if key not in OF_EACH_RUN:
            return True
        remedy = "list them as seeds" if key == "seed" else None
        what = f"every run of a sweep has {'an' if key == 'output' else 'a'} {key} of its own"
        self.files.problems.append(LocatedError(what, mark=change.starts[0], path=path, remedy=remedy))
        return False

    def seeds(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, list):
            self.wrong(("seeds",), f"expected a list of whole numbers, found {shown(value)}", "for example [0, 1, 2]")
            return ()
        for index, seed in enumerate(value):
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 32:
                self.wrong(("seeds", index), f"{shown(seed)} is no seed", "a whole number from 0 to 4294967295")
            elif seed in value[:index]:
                self.wrong(("seeds", index), f"{seed} is there already", "keep one of the two")
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.document.data.get(key, {})
        if isinstance(value, dict):
            return value
        remedies = {"set": "keys of the recipe and their values", "axes": "a name for each axis"}
        remedy = remedies.get(key, "a name for each variant")
        self.wrong((key,), f"expected a mapping, found {shown(value)}", remedy)
        return {}

    def wrong(self, path: KeyPath, what: str, remedy: str | None = None, *, at_key: bool = False) -> None:
        self.files.problems.append(self.document.problem(path, what, remedy, at_key=at_key))


def _own(key: str, value: Any, mark: Mark) -> Override:
    return Override((key,), (mark,), Document(value, {(): mark}))


def _value_name(key: str, value: Any, index: int) -> str:
    """``train.batch_size=8``; by its place where the value is no short word."""
    if isinstance(value, dict | list):
        return f"{key}[{index}]"
    text = dump({"v": value}).removeprefix("v: ").strip()
    name = f"{key}={text}"
    return name if _NAME.fullmatch(name) else f"{key}[{index}]"
