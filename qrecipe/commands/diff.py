"""``qrecipe diff``: which keys of two recipes differ, and which sites of their models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..experiment.binding import same_model
from ..experiment.events import Listener, Noted, nobody
from ..experiment.target import find_target
from ..experiment.workspace import Workspace
from ..planning import Comparison
from ..planning.views import compare
from ..recipe.definition import Recipe
from ..student import make_plan


def diff(
    a: Recipe | Path | str,
    b: Recipe | Path | str,
    *,
    keys_only: bool = False,
    image_size: tuple[int, int] | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Comparison:
    """Compare two recipes, run folders or students' folders.

    Args:
        keys_only: build no model. image_size: (height, width) at which costs are counted.
        overrides, random_weights, cache: of both, as ``qrecipe.evaluate`` takes them.

    Raises:
        QRecipeError: one of them is none, or its model or plan cannot be made.
    """
    one, other = (find_target(path, "real", overrides, random_weights, data=False).recipe for path in (a, b))
    same = same_model(one, other)
    found = Comparison(_name(a), _name(b), same, tuple(compare.key_changes(one, other)))
    if keys_only:
        return found
    first = Workspace(one, ("train",), listener, placeholder=True, cache=cache)
    second = first if same else Workspace(other, ("train",), listener, placeholder=True, cache=cache)
    if same:
        listener(Noted("capture", "one for both, as their models are the same", progress=True))
    plans = [make_plan(own.original, recipe, image_size=image_size) for own, recipe in ((first, one), (second, other))]
    sites, totals = compare.site_changes(*plans), compare.totals(*plans)
    return dataclasses.replace(found, sites=tuple(sites), totals=tuple(totals))


def _name(given: Recipe | Path | str) -> str:
    return given.name if isinstance(given, Recipe) else str(given)
