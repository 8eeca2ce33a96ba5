"""Repeated modules as one: ``layers.0-5.norm`` for six that are alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Repeated:
    """label: a module path in which runs of numbers are ranges. members: the paths that it stands for."""

    label: str
    members: tuple[str, ...]


def collapse(names: Mapping[str, Hashable]) -> list[Repeated]:
    """Join paths that differ in one number and are alike, number by number from the right.

    Args:
        names: module paths to what two must have in common to be alike.

    Returns:
        In the order of each one's first member.
    """
    order = {name: place for place, name in enumerate(names)}
    groups: dict[tuple[str, ...], list[str]] = {tuple(name.split(".")): [name] for name in names}
    for position in reversed(range(max((len(parts) for parts in groups), default=0))):
        joined: dict[Hashable, dict[int, tuple[str, ...]]] = {}
        for parts, members in groups.items():
            if position < len(parts) and parts[position].isdecimal():
                key = (parts[:position], parts[position + 1 :], names[members[0]])
                joined.setdefault(key, {})[int(parts[position])] = parts
        for numbered in joined.values():
            if len(numbered) > 1:
                first = numbered[min(numbered)]
                members = [one for number in sorted(numbered) for one in groups.pop(numbered[number])]
                label = (*first[:position], ranges(numbered), *first[position + 1 :])
                groups[label] = members
    found = [Repeated(".".join(parts), tuple(members)) for parts, members in groups.items()]
    return sorted(found, key=lambda one: min(order[name] for name in one.members))


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as people write them: ``0-2,5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def at_depth(path: str, depth: int) -> str:
    """The first ``depth`` levels of a module path. A number belongs to the level that it counts."""
    taken: list[str] = []
    levels = 0
    for part in path.split("."):
        if not (part.isdecimal() and taken):
            levels += 1
        if levels > depth:
            break
        taken.append(part)
    return ".".join(taken)
