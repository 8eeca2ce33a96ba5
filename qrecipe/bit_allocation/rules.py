"""From bits site by site to the few rules of a recipe that say the same."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..planning import Plan, Site, build_plan
from ..recipe.definition import Recipe, Rule
from ..structure import Structure
from ..structure.operands import PASSIVE
from ..vocabulary import OPERAND_KINDS, OperandKind
from .program import Width

Setting = dict[OperandKind, Width]


@dataclass(frozen=True)
class BitRule:
    """match: patterns that must all match. bits: by kind of operand, None for real-valued."""

    match: tuple[str, ...]
    bits: Mapping[OperandKind, Width]

    def to_dict(self) -> dict[str, Any]:
        """As a recipe has it."""
        match = self.match[0] if len(self.match) == 1 else list(self.match)
        return {"match": match, **{kind: _value(width) for kind, width in self.bits.items()}}


def rules_for(structure: Structure, recipe: Recipe, plan: Plan, wanted: Mapping[str, Width]) -> list[BitRule]:
    """Rules behind the recipe's own that give the wanted sites these bits and leave all others as they are.

    A rule for each role, with the bits that most of it has; then one for whatever differs, modules that are alike in
    one. What they say is checked against a plan that is made with them.

    Args:
        plan: of the recipe. wanted: bits by site.
    """
    goal = {name: _bits(site) for name, site in plan.sites.items()} | dict(wanted)

    def differing(rules: Sequence[BitRule]) -> list[Site]:
        return _differing(structure, recipe, plan, rules, goal)

    rules = list(_by_role(plan, wanted))
    rules += _exceptions(differing(rules), goal, exact=False)
    rules += _exceptions(differing(rules), goal, exact=True)
    left = differing(rules)
    assert not left, f"no rules say what was chosen for {[site.name for site in left]}"
    for rule in list(rules):
        fewer = [other for other in rules if other is not rule]
        if not differing(fewer):
            rules = fewer
    return rules


def _by_role(plan: Plan, wanted: Mapping[str, Width]) -> Iterator[BitRule]:
    """What most operands of each role and kind have, weighted by nothing: a rule is read by people."""
    counts: dict[str, dict[OperandKind, Counter[Width]]] = defaultdict(lambda: defaultdict(Counter))
    for name, width in wanted.items():
        site = plan.sites[name]
        if site.operator not in PASSIVE:
            counts[site.role][site.kind][width] += 1
    for role, kinds in counts.items():
        ordered = [kind for kind in OPERAND_KINDS if kind in kinds]
        if role:
            yield BitRule((f"role:{role}",), {kind: kinds[kind].most_common(1)[0][0] for kind in ordered})


def _differing(
    structure: Structure, recipe: Recipe, plan: Plan, rules: Sequence[BitRule], goal: Mapping[str, Width]
) -> list[Site]:
    """Sites whose bits are not those of the goal under the recipe with these rules."""
    changed = build_plan(structure, with_rules(recipe, rules), plan.image_size)
    return [site for name, site in changed.sites.items() if _bits(site) != goal[name]]


def _exceptions(differing: Sequence[Site], goal: Mapping[str, Width], *, exact: bool) -> list[BitRule]:
    """A rule for all places that need the same, over modules alike. exact: name the operator and all kinds too."""
    places: dict[tuple[str, str], Setting] = defaultdict(dict)
    for site in differing:
        operator = site.operator if exact or site.operator in PASSIVE else ""
        places[site.module, operator][site.kind] = goal[site.name]
    alike: dict[tuple[str, str, tuple[tuple[OperandKind, Width], ...]], list[str]] = defaultdict(list)
    for (module, operator), setting in places.items():
        ordered = tuple((kind, setting[kind]) for kind in OPERAND_KINDS if kind in setting)
        alike[re.sub(r"(?<![^.])\d+(?![^.])", "#", module), operator, ordered].append(module)
    return [
        BitRule((_pattern(modules), *((f"op:{operator}",) if operator else ())), dict(setting))
        for (_, operator, setting), modules in alike.items()
    ]


def _pattern(modules: Sequence[str]) -> str:
    """Exactly these modules, which differ in numbers alone, and none below them."""
    columns = list(zip(*(module.split(".") for module in modules), strict=True))
    parts = []
    for column in columns:
        values = list(dict.fromkeys(column))
        parts.append(re.escape(values[0]) if len(values) == 1 else f"({'|'.join(values)})")
    pattern = r"\.".join(parts)
    return f"re:^{pattern}$"


def with_rules(recipe: Recipe, rules: Sequence[BitRule]) -> Recipe:
    """The recipe with more rules behind its own."""
    own = recipe.quantize.rules
    added = tuple(
        Rule(
            rule.match,
            ("quantize", "rules", len(own) + number),
            **{kind: _value(width) for kind, width in rule.bits.items()},
        )
        for number, rule in enumerate(rules)
    )
    return dataclasses.replace(recipe, quantize=dataclasses.replace(recipe.quantize, rules=(*own, *added)))


def _value(width: Width) -> Any:
    return "float" if width is None else {"bits": width}


def _bits(site: Site) -> Width:
    return None if site.spec is None else site.spec.bits
