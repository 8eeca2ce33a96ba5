"""Runs beside one another: those that differ by seed alone as one group, groups against a baseline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from ..errors import QRecipeError, RunError
from ..recipe.definition import KeyPath, dotted
from ..recipe.differences import by_place, differing
from ..suggestions import closest_are, nearest
from .finished import FinishedRun
from .results import Mean
from .statistics import CONFIDENCE, Difference, bootstrap, paired

ABSENT = "absent"
"""In place of a value that only other groups have."""


@dataclass(frozen=True)
class Group:
    """Runs that differ by seed alone.

    difference: of its AP to the baseline's, None of the baseline itself and where there is none. beside: the
    baseline's name. why: what is to be said of a difference that is missing or has no interval.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    beside: str | None = None
    difference: Difference | None = None
    why: str | None = None

    def score(self, name: str = "AP") -> Mean | None:
        """A score of the row that runs are judged by."""
        return Mean.of(run.row.scores.get(name) for run in self.runs)

    @property
    def bytes(self) -> float | None:
        return self.runs[0].row.bytes

    @property
    def operations(self) -> float | None:
        return self.runs[0].row.operations

    def to_dict(self) -> dict[str, Any]:
        scores = {name: self.score(name) for name in self.runs[0].row.scores}
        return {
            "name": self.name,
            "model": self.runs[0].row.model,
            "scores": {name: None if mean is None else asdict(mean) for name, mean in scores.items()},
            "bytes": self.bytes,
            "operations": self.operations,
            "baseline": self.beside,
            "difference": None if self.difference is None else self.difference.to_dict(),
            "note": self.why,
            "runs": [{"folder": str(run.folder), "seed": run.seed, "AP": run.AP} for run in self.runs],
        }


@dataclass(frozen=True)
class Table:
    """Groups whose scores are of the same data. keys: values of the keys in which they differ, by key and group."""

    data: str
    groups: tuple[Group, ...]
    keys: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {"data": self.data, "groups": [group.to_dict() for group in self.groups], "keys": self.keys}


def tables_of(
    runs: Sequence[FinishedRun], baseline: str | None = None, confidence: float = CONFIDENCE
) -> tuple[Table, ...]:
    """A table for each kind of data, its groups in the order of the runs.

    Args:
        baseline: a group's name, by default each table's first; or a part of names such as ``lsq+`` of
            ``lsq+, 4-4-8``: then each group's is the one that has this part in its own's place.

    Raises:
        RunError: no group has that name or part.
    """
    by_data: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_data.setdefault(run.data, []).append(run)
    tables = []
    for data, own in by_data.items():
        groups = _groups(own)
        keys = _keys(groups)
        tables.append(Table(data, tuple(_against(groups, baseline, confidence)), keys))
    names = [group.name for table in tables for group in table.groups]
    if baseline is not None and not any(group.beside for table in tables for group in table.groups):
        known = [*names, *(part for name in names for part in name.split(", "))]
        if baseline not in known:
            near = closest_are(nearest(baseline, known)) or f"there is {', '.join(names)}"
            raise RunError(f"no group is called {baseline}", where="--baseline", remedy=near)
    return tuple(tables)


def _groups(runs: Sequence[FinishedRun]) -> list[Group]:
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.substance, sort_keys=True), []).append(run)
    firsts = [members[0] for members in found.values()]
    labels = [run.name for run in firsts]
    for where in (attrgetter("folder.name"), attrgetter("folder")):  # a name that several have says where it is
        taken = Counter(labels)
        labels = [
            f"{run.name} ({where(run)})" if taken[label] > 1 else label
            for run, label in zip(firsts, labels, strict=True)
        ]
    return [
        Group(label, tuple(sorted(members, key=lambda run: run.seed)))
        for label, members in zip(labels, found.values(), strict=True)
    ]


def _against(groups: Sequence[Group], baseline: str | None, confidence: float) -> list[Group]:
    by_name = {group.name: group for group in groups}
    found = []
    for group in groups:
        name = groups[0].name if baseline is None else _baseline_of(group.name, baseline, by_name)
        other = by_name.get(name) if name is not None else None
        if other is None or other is group:
            found.append(group)
        else:
            difference, why = _difference(group, other, confidence)
            found.append(Group(group.name, group.runs, other.name, difference, why))
    return found


def _baseline_of(name: str, baseline: str, known: dict[str, Group]) -> str | None:
    """The group of that name, or the one with that part in its own's place; None where there is none."""
    if baseline in known:
        return baseline
    parts = name.split(", ")
    places = {place for other in known for place, part in enumerate(other.split(", ")) if part == baseline}
    for place in sorted(places):
        wanted = ", ".join([*parts[:place], baseline, *parts[place + 1 :]])
        if wanted in known:
            return wanted
    return None


def _difference(group: Group, other: Group, confidence: float) -> tuple[Difference | None, str | None]:
    """Over common seeds; over images where it is one run beside one."""
    theirs = {run.seed: run for run in other.runs}
    pairs = [(run, theirs[run.seed]) for run in group.runs if run.seed in theirs]
    if not pairs and len(group.runs) == len(other.runs) == 1:
        pairs = [(group.runs[0], other.runs[0])]
    if not pairs:
        return None, "no seed in common"
    values = [one.AP - two.AP for one, two in pairs if one.AP is not None and two.AP is not None]
    if not values:
        return None, "there is nothing to find"
    if len(pairs) > 1:
        left = len(group.runs) + len(other.runs) - 2 * len(pairs)
        return paired(values, confidence), f"{len(pairs)} seeds in common" if left else None
    others = len(group.runs) + len(other.runs) > 2
    common = "1 seed in common, of which the interval is over images" if others else None
    try:
        one, two = (run.matches() for run in pairs[0])
        found = bootstrap(one, two, confidence)
    except (QRecipeError, ValueError) as problem:
        reason = f"no interval: {problem}"
        return paired(values, confidence), f"1 seed in common; {reason}" if others else reason
    return found, common


def _keys(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Every key that a group has otherwise than the first; a mapping that one lacks is a key for each of its own."""
    first = groups[0].runs[0].substance
    paths: dict[KeyPath, None] = {}
    for group in groups[1:]:
        for one in differing(first, group.runs[0].substance, by_place):
            for path, value in ((one.at_a, one.a), (one.at_b, one.b)):
                paths.update(dict.fromkeys(_leaves(path, value) if path is not None else ()))
    outermost = [path for path in paths if not any(path[:depth] in paths for depth in range(len(path)))]
    return {dotted(path): {group.name: _value(group.runs[0].substance, path) for group in groups} for path in outermost}


def _leaves(path: KeyPath, value: Any) -> Iterator[KeyPath]:
    """The keys within a mapping; of anything else its own."""
    if isinstance(value, dict) and value:
        for key, own in value.items():
            yield from _leaves((*path, key), own)
    else:
        yield path


def _value(here: Any, path: KeyPath) -> Any:
    """What a recipe has at a path."""
    for part in path:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return here
