"""What a recipe decides of every site: its quantizer, with which dimension has scales of its own, and who shares it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import PlanError
from ..recipe.definition import QuantizerSpec, QuantizeSpec, Recipe
from ..recipe.names import GRANULARITIES
from ..recipe.quantizer_table import QUANTIZERS
from ..structure import Address, SiteFacts, Structure
from ..suggestions import closest_are, nearest
from ..vocabulary import OperandKind
from .plan import CHOSEN, Site
from .problems import stop_at
from .rules import Verdict, decide

FOLDED = "one scale for all heads: they are folded into the batch here"


def judge(
    structure: Structure, quantize: QuantizeSpec, matched: Mapping[Address, tuple[int, ...]]
) -> dict[str, Verdict]:
    """What is decided of every site, by its name; the same object for operands of which the same is decided.

    Args:
        matched: the indices of the rules that match, by address.
    """
    made: dict[tuple[OperandKind, bool, tuple[int, ...]], Verdict] = {}
    judged: dict[str, Verdict] = {}
    for name, facts in structure.sites.items():
        key = (facts.kind, facts.passive, matched.get(facts.address, ()))
        verdict = made.get(key)
        if verdict is None:
            verdict = made[key] = decide(quantize, *key)
        judged[name] = verdict
    return judged


def choose(
    structure: Structure, judged: Mapping[str, Verdict], specs: Mapping[str, QuantizerSpec | None]
) -> Mapping[str, Verdict]:
    """The verdicts, with the quantizers of ``specs`` at the sites that it names.

    Raises:
        PlanErrors: a site that is none, or scales that its kind of operand cannot have.
    """
    if not specs:
        return judged
    problems, chosen = [], dict(judged)
    made: dict[object, Verdict] = {}
    for site, spec in specs.items():
        facts = structure.sites.get(site)
        if facts is None:
            remedy = closest_are(nearest(site, structure.sites))
            problems.append(PlanError(f"there is no site {site!r}", remedy=remedy))
        elif spec is not None and spec.per not in GRANULARITIES[facts.kind]:
            problems.append(PlanError(f"{site}, an operand of kind {facts.kind}, cannot have scales per {spec.per}"))
        else:
            verdict = Verdict(spec, CHOSEN, (), (), frozenset(), facts.passive)
            chosen[site] = made.setdefault((facts.kind, facts.passive, spec), verdict)
    stop_at(problems)
    return chosen


def unfinished_problems(structure: Structure, recipe: Recipe, judged: Mapping[str, Verdict]) -> list[PlanError]:
    """Rules that quantize what has no default without saying enough, once for each kind of operand."""
    found: dict[tuple[int, OperandKind], PlanError] = {}
    for site, verdict in judged.items():
        if verdict.problem is None:
            continue
        (index, missing), kind = verdict.problem, structure.sites[site].kind
        what = f"the rule quantizes {site}, for which quantize.{kind} gives no default, without {missing}"
        where = recipe.where((*recipe.quantize.rules[index].path, kind))
        found.setdefault((index, kind), PlanError(what, where=where, remedy="name them in the rule"))
    return list(found.values())


def impossible_problems(structure: Structure, recipe: Recipe, judged: Mapping[str, Verdict]) -> list[PlanError]:
    """Rules that give a quantizer an offset or a scale that it does not have, once for each kind of operand.

    A rule may name the one and a default or another rule the other: each of them is fine alone.
    """
    found: dict[tuple[int, OperandKind], PlanError] = {}
    for site, verdict in judged.items():
        spec, kind = verdict.spec, structure.sites[site].kind
        if spec is None or not verdict.sets:
            continue
        row = QUANTIZERS[spec.quantizer]
        able = {"offset": row.offsets.get(kind, ()), "scale": row.scales}
        for key, values in able.items():
            if getattr(spec, key) not in values:
                what = (
                    f"the rule gives {site} {spec.quantizer} with {key}: {getattr(spec, key)}, which it does not have"
                )
                where = recipe.where((*recipe.quantize.rules[verdict.sets[-1]].path, kind))
                remedy = f"name the quantizer and its {key} in one place; {spec.quantizer} has {', '.join(values)}"
                found.setdefault((verdict.sets[-1], kind), PlanError(what, where=where, remedy=remedy))
    return list(found.values())


def plan_sites(structure: Structure, judged: Mapping[str, Verdict], *, aligned: bool) -> dict[str, Site]:
    """Every site, in the structure's order. Those that read one tensor with one spec share a quantizer.

    Args:
        aligned: whether queries are aligned: an aligned query is another tensor than the one that was there.
    """
    sharing: dict[tuple[object, ...], str] = {}
    sites = {}
    for name, facts in structure.sites.items():
        verdict = judged[name]
        spec, axis, size, note = _scales(facts, verdict.spec)
        quantizer = name if spec is not None else None
        if quantizer is not None and facts.kind != "weight" and facts.tensor:
            key = (facts.mode, facts.tensor, spec, axis, aligned and facts.aligned)
            quantizer = sharing.setdefault(key, quantizer)
        sites[name] = Site(
            name=name,
            operation=facts.operation,
            module=facts.address.module,
            operator=facts.address.operator,
            operand=facts.operand,
            slot=facts.slot,
            kind=facts.kind,
            role=facts.address.role,
            shape=facts.text,
            spec=spec,
            reason=verdict.reason,
            quantizer=quantizer,
            axis=axis,
            size=size,
            batched=facts.batched,
            note=note,
            extents=facts.extents,
        )
    return sites


def _scales(facts: SiteFacts, spec: QuantizerSpec | None) -> tuple[QuantizerSpec | None, int | None, int, str]:
    """The quantizer as this operand can have it, the dimension with scales of its own, how many, and a note."""
    if spec is None or spec.per == "tensor":
        return spec, None, 1, ""
    if spec.per == "channel":
        return spec, facts.channel_axis, int(facts.shape[facts.channel_axis]), ""
    if facts.heads:
        return spec, 1, facts.heads, ""
    return dataclasses.replace(spec, per="tensor"), None, 1, FOLDED
