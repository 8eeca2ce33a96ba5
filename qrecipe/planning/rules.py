"""Which quantizer an operand gets: the recipe's defaults, then its rules in order; the last match wins."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError
from ..recipe import default_offset
from ..recipe.definition import KeyPath, QuantizerSpec, QuantizeSpec, Recipe, Rule
from ..structure import Address, Structure
from ..structure.roles import role_matches
from ..vocabulary import OperandKind

PASSIVE_NAMES = "op:add, op:cat, op:avg_pool or op:silu"
PASSIVE_REASON = f"additions, concatenations, pools and SiLU stay real-valued unless a rule names {PASSIVE_NAMES}"


@dataclass(frozen=True)
class Verdict:
    """What is decided of one operand.

    spec: its quantizer; None where it stays real-valued. reason: the rule or default that decided.
    matched: the rules that match its operation. sets: those that set something for this kind of operand.
    kept: those of which something is left after the later ones.
    passive: whether the defaults pass it over, as an addition's, a concatenation's, a pool's or a SiLU's.
    problem: a rule that quantizes it without saying enough, by the rule's index: what it lacks.
    """

    spec: QuantizerSpec | None
    reason: str
    matched: tuple[int, ...]
    sets: tuple[int, ...]
    kept: frozenset[int]
    passive: bool
    problem: tuple[int, str] | None = None


def decide(quantize: QuantizeSpec, kind: OperandKind, passive: bool, matched: tuple[int, ...]) -> Verdict:
    """The quantizer of operands of one kind, and why.

    Args:
        passive: whether their operation is an addition, a concatenation, a pool or a SiLU.
        matched: the indices of the rules that match it, in order.
    """
    default: QuantizerSpec | None = getattr(quantize, kind)
    spec, reason = default, default_reason(quantize, kind)
    if passive:
        spec, reason = None, PASSIVE_REASON
    sets, problem = [], None
    writers: dict[str, int] = {}
    for index in matched:
        rule = quantize.rules[index]
        if passive and not names_operator(rule):
            continue
        change: Mapping[str, Any] | str | None = "float" if rule.keep == "float" else getattr(rule, kind)
        if change is None:
            continue
        sets.append(index)
        reason = rule_reason(quantize, index)
        if isinstance(change, str):
            spec, writers = None, {"float": index}
            continue
        missing = {"bits", "quantizer"} - change.keys()
        if spec is None and default is None and missing:
            problem = problem or (index, " and ".join(sorted(missing)))
            continue
        writers.pop("float", None)
        spec, keys = _changed(spec or default, change, kind)
        writers.update(dict.fromkeys(keys, index))
    return Verdict(spec, reason, matched, tuple(sets), frozenset(writers.values()), passive, problem)


def rules_by_address(structure: Structure, quantize: QuantizeSpec) -> dict[Address, tuple[int, ...]]:
    """Where the rules match: the indices of those that do, in order. Addresses that none matches are left out."""
    found: dict[Address, list[int]] = {}
    for index, rule in enumerate(quantize.rules):
        matching = [addresses_matched(structure, pattern) for pattern in rule.match]
        for address in frozenset.intersection(*matching) if matching else structure.addresses:
            found.setdefault(address, []).append(index)
    return {address: tuple(indices) for address, indices in found.items()}


def addresses_matched(structure: Structure, pattern: str) -> frozenset[Address]:
    """The addresses that one pattern matches. A pattern is held against a structure once."""

    def match() -> frozenset[Address]:
        return frozenset(address for address in structure.addresses if pattern_matches(pattern, address))

    return structure.once(("addresses matched", pattern), match)


def default_reason(quantize: QuantizeSpec, kind: str) -> str:
    return f"no quantize.{kind}" if getattr(quantize, kind) is None else f"quantize.{kind}"


def rule_reason(quantize: QuantizeSpec, index: int) -> str:
    return f"quantize.rules[{index}]: {', '.join(quantize.rules[index].match)}"


def names_operator(rule: Rule) -> bool:
    """Whether a rule may set additions, concatenations, pools and SiLU."""
    return any(pattern.startswith("op:") for pattern in rule.match)


def _changed(
    base: QuantizerSpec | None, change: Mapping[str, Any], kind: OperandKind
) -> tuple[QuantizerSpec, set[str]]:
    """The quantizer after a rule, and the keys that are the rule's."""
    if "quantizer" in change and "offset" not in change:
        change = {**change, "offset": default_offset(kind, str(change["quantizer"]))}
    if base is not None:
        return dataclasses.replace(base, **change), set(change)
    per = "channel" if kind == "weight" else "tensor"
    return QuantizerSpec(**{"per": per, **change}), set(change)


def pattern_matches(pattern: str, address: Address) -> bool:
    """One pattern: ``role:GLOB``, ``op:GLOB``, ``re:REGEX`` or a GLOB over the module's path or a path above it."""
    kind, colon, rest = pattern.partition(":")
    if colon and kind == "role":
        return role_matches(rest, address.role)
    if colon and kind == "op":
        return fnmatch.fnmatchcase(address.operator, rest)
    if colon and kind == "re":
        return re.search(rest, address.module) is not None
    parts = address.module.split(".")
    return any(fnmatch.fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def pattern_path(recipe: Recipe, rule: Rule, index: int) -> KeyPath:
    """Where one of a rule's patterns stands: an item of a list, or the one pattern that is no list."""
    item = (*rule.path, "match", index)
    return item if item in recipe.marks else (*rule.path, "match")


def pattern_problems(recipe: Recipe) -> list[PlanError]:
    """Regular expressions in rules that are none, and so can be held against no model."""
    problems = []
    for rule in recipe.quantize.rules:
        for index, pattern in enumerate(rule.match):
            if not pattern.startswith("re:"):
                continue
            try:
                re.compile(pattern.removeprefix("re:"))
            except re.error as error:
                what = f"{pattern!r} is no regular expression: {error}"
                problems.append(PlanError(what, where=recipe.where(pattern_path(recipe, rule, index))))
    return problems
