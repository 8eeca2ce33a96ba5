"""What each default and rule of a recipe decides, and what it says in vain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..recipe.definition import OVERRIDE, KeyPath, Recipe, Rule, dotted
from ..structure import Structure
from ..vocabulary import OPERAND_KINDS, OperandKind
from .plan import CHOSEN, Decision
from .rules import PASSIVE_NAMES, PASSIVE_REASON, Verdict, default_reason, names_operator, rule_reason


@dataclass(frozen=True)
class Judged:
    """Operands of one kind of which the same is decided, and how many they are."""

    kind: OperandKind
    verdict: Verdict
    count: int


def count_judged(structure: Structure, verdicts: Mapping[str, Verdict]) -> list[Judged]:
    """The verdicts with their operands' kind and number, in the order of each one's first site.

    Args:
        verdicts: by site, one object for all sites of which the same is decided.
    """
    first: dict[int, str] = {}
    for site, verdict in verdicts.items():
        first.setdefault(id(verdict), site)
    counts = Counter(map(id, verdicts.values()))
    return [Judged(structure.sites[site].kind, verdicts[site], counts[key]) for key, site in first.items()]


def decisions_of(recipe: Recipe, judged: Sequence[Judged]) -> tuple[Decision, ...]:
    """The defaults by kind, what they pass over, the rules in their order, then what was chosen by site."""
    quantize = recipe.quantize
    found = []
    for kind in OPERAND_KINDS:
        reason = default_reason(quantize, kind)
        about = sum(one.count for one in judged if one.kind == kind and not one.verdict.passive)
        ours = sum(one.count for one in judged if one.kind == kind and one.verdict.reason == reason)
        place = place_of(recipe, ("quantize", kind)) if getattr(quantize, kind) is not None else ""
        found.append(Decision(reason, place, {kind: about}, {kind: ours}, {}))
    passive = _by_kind(one for one in judged if one.verdict.reason == PASSIVE_REASON)
    if passive:
        found.append(Decision(PASSIVE_REASON, "", dict(passive), dict(passive), {}))
    found += _rules(recipe, judged)
    chosen = _by_kind(one for one in judged if one.verdict.reason == CHOSEN)
    if chosen:
        found.append(Decision(CHOSEN, "", dict(chosen), dict(chosen), {}))
    return tuple(found)


def _rules(recipe: Recipe, judged: Sequence[Judged]) -> Iterator[Decision]:
    matched, decided, kept = (defaultdict[int, list[Judged]](list) for _ in range(3))
    for one in judged:
        for index in one.verdict.sets:
            matched[index].append(one)
        for last in one.verdict.sets[-1:]:
            decided[last].append(one)
        for index in one.verdict.kept:
            if index != one.verdict.sets[-1]:
                kept[index].append(one)
    for index, rule in enumerate(recipe.quantize.rules):
        about, ours = _by_kind(matched[index]), _by_kind(decided[index])
        yield Decision(
            rule_reason(recipe.quantize, index),
            place_of(recipe, rule.path),
            about,
            {kind: ours.get(kind, 0) for kind in about},
            _by_kind(kept[index]),
        )


def _by_kind(judged: Iterable[Judged]) -> dict[OperandKind, int]:
    counts: dict[OperandKind, int] = {}
    for one in judged:
        counts[one.kind] = counts.get(one.kind, 0) + one.count
    return counts


def rule_warnings(recipe: Recipe, judged: Sequence[Judged]) -> list[str]:
    """Rules, or parts of them, of which later rules leave nothing, and rules that match without setting anything."""
    matching, setting = (defaultdict[int, list[Judged]](list) for _ in range(2))
    for one in judged:
        for index in one.verdict.matched:
            matching[index].append(one)
        for index in one.verdict.sets:
            setting[index].append(one)
    warnings = []
    for index, rule in enumerate(recipe.quantize.rules):
        if index not in matching:
            continue  # an error, which is said elsewhere
        shadowed: dict[OperandKind, set[int]] = {}
        alive = False
        for kind in OPERAND_KINDS:
            mine = [one.verdict for one in setting[index] if one.kind == kind]
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


def _quoted(rule: Rule) -> str:
    return ", ".join(map(repr, rule.match))


def _sets_nothing(rule: Rule) -> str:
    kinds = [kind for kind in OPERAND_KINDS if rule.keep is not None or getattr(rule, kind) is not None]
    what = f"{_quoted(rule)} sets nothing: what it matches has no {' and no '.join(kinds)} operand"
    return what if names_operator(rule) else f"{what}, or only what defaults pass over, which {PASSIVE_NAMES} names"


def _named(recipe: Recipe, indices: set[int]) -> str:
    """Who sets it again: later rules with their places."""
    parts = []
    for index in sorted(indices):
        place = place_of(recipe, recipe.quantize.rules[index].path)
        parts.append(f"rules[{index}]" + (f" ({place})" if place else ""))
    return f"wherever it applies, later rules set the same again: {', '.join(parts)}"
