"""The names of a model that come closest to one that is not there."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import PlanError
from ..recipe.definition import Recipe
from ..structure import Address, Structure
from ..structure.roles import role_matches
from ..suggestions import closest_are, nearest
from .rules import addresses_matched, pattern_path
from .views.collapse import collapse

COUNT = 3
RANGE = re.compile(r"(?<![^.])\d+[-,][\d,-]+(?![^.])")
"""A range of numbers between dots, for which a pattern has a star."""


def unmatched_problems(recipe: Recipe, matched: set[int], structure: Structure) -> list[PlanError]:
    """Rules that matched nothing, each at the pattern that matches nothing alone, if there is one.

    Args:
        matched: indices of the rules that matched.
    """
    problems = []
    for index, rule in enumerate(recipe.quantize.rules):
        if index in matched:
            continue
        alone = [not addresses_matched(structure, pattern) for pattern in rule.match]
        if not any(alone):
            what = f"no operation matches all of {', '.join(map(repr, rule.match))}, though each matches some"
            problems.append(
                PlanError(what, where=recipe.where((*rule.path, "match")), remedy="mend or remove the rule")
            )
        for number, pattern in enumerate(rule.match):
            if alone[number]:
                what = f"{pattern!r} matches nothing in the model"
                remedy = closest_are(_near(pattern, structure.addresses)) or "mend or remove the rule"
                problems.append(PlanError(what, where=recipe.where(pattern_path(recipe, rule, number)), remedy=remedy))
    return problems


def _near(pattern: str, addresses: Sequence[Address]) -> list[str]:
    """Names of the pattern's own kind, repeated modules as one."""
    roles = {one.role for one in addresses}
    kind, colon, rest = pattern.partition(":")
    if colon and kind == "role":
        parts = {role.partition(".")[0] for role in roles}
        return [f"role:{role}" for role in nearest(rest, roles | parts)]
    if colon and kind == "op":
        return [f"op:{name}" for name in nearest(rest, {one.operator for one in addresses})]
    names = {one.module for one in addresses if one.module}
    names |= {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 1)}
    words = rest if colon and kind == "re" else pattern
    close = nearest(words, names, 4 * COUNT)
    labels = [RANGE.sub("*", group.label) for group in collapse(dict.fromkeys(close, ""))]
    return (labels or _heads(names))[:COUNT]


def _heads(names: set[str]) -> list[str]:
    """What there is at the top, where nothing comes close."""
    return sorted({name.partition(".")[0] for name in names})


def missing_role_problems(recipe: Recipe, roles: set[str], part: str) -> list[PlanError]:
    """Roles that a stage of training quantizes, and that the model does not have. A teacher has no stages."""
    problems = []
    for number, stage in enumerate(recipe.train.stages if part == "model" else ()):
        for index, pattern in enumerate(stage.quantize or ()):
            if any(role_matches(pattern, role) for role in roles):
                continue
            near = nearest(pattern, roles | {role.partition(".")[0] for role in roles})
            remedy = closest_are(near) or f"it has {', '.join(sorted(roles))}"
            where = recipe.where(("train", "stages", number, "quantize", index))
            problems.append(PlanError(f"the model has no role {pattern!r}", where=where, remedy=remedy))
    return problems
