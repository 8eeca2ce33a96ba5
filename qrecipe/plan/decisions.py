"""What each default and rule of a recipe decides, and what it says in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ..recipe.definition import OVERRIDE, KeyPath, Recipe, Rule, dotted
from ..vocabulary import OPERAND_KINDS, OperandKind
from .plan import Decision
from .rules import PASSIVE_REASON, Verdict, default_reason, names_operator, rule_reason

Judged = Iterable[tuple[OperandKind, Verdict]]


def decisions_of(recipe: Recipe, verdicts: Judged) -> tuple[Decision, ...]:
    """The defaults in the order of the kinds, additions and concatenations, then the rules in their order."""
    verdicts, quantize = list(verdicts), recipe.quantize
    found = []
    for kind in OPERAND_KINDS:
        reason = default_reason(quantize, kind)
        about = sum(own == kind and not verdict.passive for own, verdict in verdicts)
        ours = sum(own == kind and verdict.reason == reason for own, verdict in verdicts)
        place = place_of(recipe, ("quantize", kind)) if getattr(quantize, kind) is not None else ""
        found.append(Decision(reason, place, {kind: about}, {kind: ours}, {}))
    passive = Counter(kind for kind, verdict in verdicts if verdict.reason == PASSIVE_REASON)
    if passive:
        found.append(Decision(PASSIVE_REASON, "", dict(passive), dict(passive), {}))
    for index, rule in enumerate(quantize.rules):
        matched = Counter(kind for kind, verdict in verdicts if index in verdict.sets)
        decided = Counter(kind for kind, verdict in verdicts if verdict.sets[-1:] == (index,))
        kept = Counter(kind for kind, verdict in verdicts if index in verdict.kept and verdict.sets[-1] != index)
        place = place_of(recipe, rule.path)
        found.append(Decision(rule_reason(quantize, index), place, dict(matched), _like(matched, decided), dict(kept)))
    return tuple(found)


def rule_warnings(recipe: Recipe, verdicts: Judged) -> list[str]:
    """Rules, or parts of them, of which later rules leave nothing, and rules that match without setting anything."""
    verdicts = list(verdicts)
    warnings = []
    for index, rule in enumerate(recipe.quantize.rules):
        if not any(index in verdict.matched for _, verdict in verdicts):
            continue  # an error, which is said elsewhere
        shadowed: dict[OperandKind, set[int]] = {}
        alive = False
        for kind in OPERAND_KINDS:
            mine = [verdict for own, verdict in verdicts if own == kind and index in verdict.sets]
            if any(index in verdict.kept for verdict in mine):
                alive = True
            elif mine:
                shadowed[kind] = {later for verdict in mine for later in verdict.sets if later > index}
        if not alive and not shadowed:
            warnings.append(f"{place_in_words(recipe, rule.path)}: {_sets_nothing(rule)}")
        elif not alive:
            later = _named(recipe, set().union(*shadowed.values()))
            warnings.append(f"{place_in_words(recipe, rule.path)}: {_quoted(rule)} decides nothing: {later}")
        elif rule.keep is None:
            for kind, by in shadowed.items():
                where = place_in_words(recipe, (*rule.path, kind))
                warnings.append(f"{where}: decides nothing: {_named(recipe, by)}")
    return warnings


def place_of(recipe: Recipe, path: KeyPath) -> str:
    """``file:line`` of a value, ``--set KEY`` of an override; "" where it comes from no file."""
    mark = recipe.where(path).mark
    if mark is None:
        return ""
    return mark.file.partition("=")[0] if mark.file.startswith(OVERRIDE) else f"{mark.file}:{mark.line}"


def place_in_words(recipe: Recipe, path: KeyPath) -> str:
    """``file:line:column: dotted.path``; of an override without its value."""
    where = recipe.where(path)
    if where.mark is not None and where.mark.file.startswith(OVERRIDE):
        return f"{place_of(recipe, path)}: {dotted(path)}"
    return where


def _like(matched: Mapping[OperandKind, int], decided: Mapping[OperandKind, int]) -> dict[OperandKind, int]:
    return {kind: decided.get(kind, 0) for kind in matched}


def _quoted(rule: Rule) -> str:
    return ", ".join(map(repr, rule.match))


def _sets_nothing(rule: Rule) -> str:
    kinds = [kind for kind in OPERAND_KINDS if rule.keep is not None or getattr(rule, kind) is not None]
    what = f"{_quoted(rule)} sets nothing: what it matches has no {' and no '.join(kinds)} operand"
    return (
        what if names_operator(rule) else f"{what}, or only additions and concatenations, which op:add and op:cat name"
    )


def _named(recipe: Recipe, indices: set[int]) -> str:
    """Who sets it again: later rules with their places."""
    parts = []
    for index in sorted(indices):
        place = place_of(recipe, recipe.quantize.rules[index].path)
        parts.append(f"rules[{index}]" + (f" ({place})" if place else ""))
    return f"wherever it applies, later rules set the same again: {', '.join(parts)}"
