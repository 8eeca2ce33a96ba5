"""The runs that a sweep asks for, each with its recipe and its folder, before any of them begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import QRecipeError, RecipeErrors, RunError
from ..recipe.definition import Recipe, dotted
from ..recipe.document import LocatedError
from ..recipe.dump import dump
from ..recipe.sweep_file import SweepFile, Variant, name_of
from ..suggestions import closest_are, nearest


@dataclass(frozen=True)
class PlannedRun:
    """number: from 1. group: of the runs that differ by seed alone. changes: values over the base's, by key."""

    number: int
    name: str
    group: str
    seed: int | None
    folder: Path
    changes: Mapping[str, Any]
    recipe: Recipe


def planned_runs(
    sweep: SweepFile, folder: Path, overrides: Sequence[str] = (), random_weights: bool = False
) -> tuple[PlannedRun, ...]:
    """All runs, those of the first seed first, so that a sweep that is cut off has something of every variant.

    Args:
        folder: each run's is in it. overrides, random_weights: of all runs.

    Raises:
        RecipeErrors: everything that is wrong with any of their recipes, each once, and runs that are the same.
    """
    problems: dict[str, QRecipeError] = {}
    found: list[PlannedRun] = []
    for seed in sweep.seeds or (None,):
        for parts in sweep.variants:
            try:
                recipe = sweep.recipe(parts, seed, overrides, random_weights)
            except RecipeErrors as errors:
                problems.update({str(problem): problem for problem in errors.problems})
                continue
            group = name_of(parts)
            name = " ".join([*([group] if group else []), *([f"seed {seed}"] if seed is not None else [])])
            changes = {dotted(change.path): change.value.data for part in parts for change in part.changes}
            found.append(PlannedRun(len(found) + 1, name, group, seed, folder / file_name(name), changes, recipe))
        if problems:
            break  # other seeds have the same
    if not problems:
        problems = {str(problem): problem for problem in _repeated(sweep, found)}
    if problems:
        raise RecipeErrors(list(problems.values()))
    return tuple(found)


def chosen(runs: Sequence[PlannedRun], which: str | int | None) -> Sequence[PlannedRun]:
    """All of them, or the one that is named by its number or, where no run has that number, by its name.

    Raises:
        RunError: there is none.
    """
    if which is None:
        return runs
    numbered = [run for run in runs if str(which) == str(run.number)]
    found = numbered or [run for run in runs if str(which) in (run.name, run.folder.name)]
    if found:
        return found[:1]
    near = closest_are(nearest(str(which), [run.folder.name for run in runs]))
    raise RunError(f"the sweep has no run {which}", where="--run", remedy=near or f"it has 1 to {len(runs)}")


def file_name(name: str) -> str:
    """``both_4-4-8_seed0`` of ``both, 4-4-8 seed 0``."""
    return re.sub(r"[^\w.=+-]+", "_", name.replace("seed ", "seed")).strip("_") or "run"


def _repeated(sweep: SweepFile, runs: Sequence[PlannedRun]) -> list[QRecipeError]:
    """Runs that are the same in all but their name, and names that are one folder."""
    problems: list[QRecipeError] = []
    recipes: dict[str, PlannedRun] = {}
    folders: dict[Path, PlannedRun] = {}
    marks = [_mark_of(parts) for _ in sweep.seeds or (None,) for parts in sweep.variants]
    for run, mark in zip(runs, marks, strict=True):
        text = dump({key: value for key, value in run.recipe.resolved.items() if key != "name"})
        same, beside = recipes.setdefault(text, run), folders.setdefault(run.folder, run)
        if same is not run:
            what = f"{run.name} and {same.name} are the same recipe"
            remedy = "leave one of the two out; a variant that no axis changes stands in also"
            problems.append(LocatedError(what, mark=mark, remedy=remedy))
        elif beside is not run:
            what = f"{run.name} and {beside.name} are one folder, {run.folder.name}"
            problems.append(LocatedError(what, mark=mark, remedy="give one of them another name"))
    return problems


def _mark_of(parts: Sequence[Variant]) -> Any:
    return parts[-1].mark if parts else None
