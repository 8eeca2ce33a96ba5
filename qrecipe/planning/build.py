"""From a model's structure and a recipe to the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ..recipe.definition import QuantizerSpec, Recipe
from ..structure import Structure
from .corrections import plan_corrections
from .cost import operations_at
from .decisions import count_judged, decisions_of, rule_warnings
from .nearest import missing_role_problems, unmatched_problems
from .plan import Plan, Site
from .problems import stop_at
from .rules import pattern_problems, rules_by_address
from .scaling import plan_scaling
from .sites import choose, impossible_problems, judge, plan_sites, unfinished_problems
from .stages import stage_warnings
from .targets import alignment_warnings, logits_warnings, plan_alignments, plan_taps

WhichModel = Literal["model", "teacher"]


def build_plan(
    structure: Structure,
    recipe: Recipe,
    image_size: tuple[int, int],
    *,
    notes: tuple[str, ...] = (),
    part: WhichModel = "model",
    specs: Mapping[str, QuantizerSpec | None] = MappingProxyType({}),
) -> Plan:
    """Decide every site, alignment and tap. Pure, and fast enough to ask for thousands of plans of one structure.

    Args:
        structure: of the captured model.
        image_size: (height, width) at which costs are counted.
        notes: what the family leaves out.
        part: which of the recipe's models this is, for messages.
        specs: by site, quantizers that a search or a tool chooses whatever the rules say; None for real-valued.

    Raises:
        PlanErrors: rules that match nothing, roles and taps that the model lacks: all of them, each at its place; or
            sites of ``specs`` that are none.
    """
    stop_at(pattern_problems(recipe))
    matched = rules_by_address(structure, recipe.quantize)
    verdicts = judge(structure, recipe.quantize, matched)
    decided = choose(structure, verdicts, specs)
    sites = plan_sites(structure, decided, aligned=bool(recipe.distill.align))
    alignments, problems = plan_alignments(structure, recipe, part)
    taps, tap_problems = plan_taps(structure, recipe, part)
    problems += tap_problems
    problems += unmatched_problems(recipe, {index for own in verdicts.values() for index in own.matched}, structure)
    problems += unfinished_problems(structure, recipe, decided)
    problems += impossible_problems(structure, recipe, decided)
    problems += missing_role_problems(recipe, set(structure.roles.of.values()), part)
    stop_at(problems)
    learned = recipe.quantize.reconstruct if _quantizes(sites) else None
    plan = Plan(
        sites=sites,
        operations=operations_at(structure, *image_size),
        alignments=tuple(alignments),
        taps=tuple(taps),
        parameters=structure.parameters,
        image_size=image_size,
        batch_norm=recipe.quantize.batch_norm,
        backbone=structure.roles.backbone,
        notes=(*notes, *_multiplied(structure)),
        decisions=decisions_of(recipe, count_judged(structure, decided)),
        unsupported=structure.unsupported,
        equalized=plan_scaling(structure, sites, "weights") if recipe.quantize.equalize else (),
        smoothed=plan_scaling(structure, sites, "norm") if recipe.quantize.smooth is not None else (),
        corrections=plan_corrections(structure, sites) if recipe.quantize.correct_biases else (),
        blocks=structure.blocks if learned is not None and learned.iterations is not None else (),
        whole=learned.whole if learned is not None and learned.whole.steps else None,
    )
    of_rules = rule_warnings(recipe, count_judged(structure, verdicts))
    of_targets = (*alignment_warnings(structure, recipe, plan), *logits_warnings(structure, recipe))
    warnings = (*of_rules, *of_targets, *stage_warnings(recipe, sites))
    return dataclasses.replace(plan, warnings=warnings)


def _quantizes(sites: Mapping[str, Site]) -> bool:
    return any(site.quantizer is not None for site in sites.values())


def _multiplied(structure: Structure) -> list[str]:
    names = structure.multiplied
    if not names:
        return []
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    what = "is a parameter that a product reads" if len(names) == 1 else "are parameters that products read"
    remedy = "torch.nn.functional.linear makes weights of them"
    return [f"{shown} {what}: activations to a recipe, and stored in 32 bits; {remedy}"]
