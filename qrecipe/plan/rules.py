"""Which quantizer an operand gets: the recipe's defaults, then its rules in order; the last match wins."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import PlanError
from ..graph.operands import PASSIVE, Operand
from ..graph.operations import Operation
from ..graph.roles import role_matches
from ..recipe import default_offset
from ..recipe.definition import QuantizerSpec, QuantizeSpec, Recipe, Rule

PASSIVE_REASON = "additions and concatenations stay real-valued unless a rule names op:add or op:cat"


def decide(
    quantize: QuantizeSpec, operation: Operation, operand: Operand, role: str
) -> tuple[QuantizerSpec | None, str, list[int]]:
    """The quantizer of one operand (None: real-valued), why, and the indices of the rules that matched."""
    spec: QuantizerSpec | None = getattr(quantize, operand.kind)
    reason = f"quantize.{operand.kind}" if spec is not None else f"no quantize.{operand.kind}"
    if operation.operator in PASSIVE:
        spec, reason = None, PASSIVE_REASON
    matched = []
    for index, rule in enumerate(quantize.rules):
        if not matches(rule, operation, role):
            continue
        matched.append(index)
        if operation.operator in PASSIVE and not any(pattern.startswith("op:") for pattern in rule.match):
            continue
        change: Mapping[str, Any] | str | None = "float" if rule.keep == "float" else getattr(rule, operand.kind)
        if change is None:
            continue
        base = spec or getattr(quantize, operand.kind)
        spec = None if isinstance(change, str) else _changed(base, change, operand, index)
        reason = f"quantize.rules[{index}]: {', '.join(rule.match)}"
    return spec, reason, matched


def _changed(base: QuantizerSpec | None, change: Mapping[str, Any], operand: Operand, index: int) -> QuantizerSpec:
    if "quantizer" in change and "offset" not in change:
        change = {**change, "offset": default_offset(operand.kind, str(change["quantizer"]))}
    if base is not None:
        return dataclasses.replace(base, **change)
    missing = {"bits", "quantizer"} - change.keys()
    if missing:
        raise PlanError(
            f"the rule quantizes {operand.site}, for which quantize.{operand.kind} gives no default, without "
            f"{' and '.join(sorted(missing))}",
            where=f"quantize.rules[{index}]",
            remedy="name them in the rule",
        )
    per = "channel" if operand.kind == "weight" else "tensor"
    return QuantizerSpec(**{"per": per, **change})


def matches(rule: Rule, operation: Operation, role: str) -> bool:
    """Whether all of a rule's patterns match an operation."""
    return all(pattern_matches(pattern, operation.module, operation.operator, role) for pattern in rule.match)


def pattern_matches(pattern: str, module: str, operator: str, role: str) -> bool:
    """One pattern: ``role:GLOB``, ``op:GLOB``, ``re:REGEX`` or a GLOB over the module's path or a path above it."""
    kind, colon, rest = pattern.partition(":")
    if colon and kind == "role":
        return role_matches(rest, role)
    if colon and kind == "op":
        return fnmatch.fnmatchcase(operator, rest)
    if colon and kind == "re":
        return re.search(rest, module) is not None
    parts = module.split(".")
    return any(fnmatch.fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def check_patterns(recipe: Recipe) -> None:
    """Refuse rules with a regular expression that is none.

    Raises:
        PlanError: names the first, and its place.
    """
    for rule in recipe.quantize.rules:
        for pattern in rule.match:
            if pattern.startswith("re:"):
                try:
                    re.compile(pattern.removeprefix("re:"))
                except re.error as error:
                    raise PlanError(
                        f"{pattern!r} is no regular expression: {error}", where=recipe.where((*rule.path, "match"))
                    ) from error


def unmatched(recipe: Recipe, matched: set[int], operations: Iterable[Operation], roles: Iterable[str]) -> None:
    """Refuse rules that matched nothing.

    Raises:
        PlanError: names each such rule, its place, and the nearest names there are.
    """
    known = {name for operation in operations for name in (operation.module, f"op:{operation.operator}")}
    known |= {f"role:{role}" for role in roles}
    problems = []
    for index, rule in enumerate(recipe.quantize.rules):
        if index in matched:
            continue
        near = [
            name
            for pattern in rule.match
            for name in difflib.get_close_matches(pattern, sorted(known), n=3, cutoff=0.4)
        ]
        problems.append(
            f"{recipe.where(rule.path)}: {', '.join(rule.match)!r} matches nothing in the model"
            + (f"; the closest are {', '.join(near)}" if near else "")
        )
    if problems:
        raise PlanError("\n".join(problems), remedy="mend or remove the rule" + ("s" if len(problems) > 1 else ""))
