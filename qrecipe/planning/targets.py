"""What a recipe aligns and taps in a model, and what of it the model does not have."""

from __future__ import annotations

from typing import Literal

from ..errors import PlanError
from ..graph.shapes import is_number
from ..recipe.definition import Recipe
from ..structure import QueryFacts, Structure
from ..vocabulary import ALIGNABLE, DISTILLABLE, FEATURE, KEY, LOGITS, MAPS, PREDICTIONS, QUERY
from .decisions import place_in_words
from .plan import Plan, PlannedAlignment, PlannedTap

FEW_CHANNELS = 16
"""Of fewer channels that are standardised together the two degrees of freedom that this takes are a large part."""
_NAME_THEM = "name the modules under {part}.roles: {{decoder.cross_attention: GLOB}}"


def plan_alignments(structure: Structure, recipe: Recipe, part: str) -> tuple[list[PlannedAlignment], list[PlanError]]:
    """One alignment per decoder layer with a query, and what is wrong. part: ``model`` or ``teacher``."""
    found: list[PlannedAlignment] = []
    problems = []
    queries = structure.programs["train"].queries
    for index, spec in enumerate(recipe.distill.align):
        place = recipe.where(("distill", "align", index, "at"))
        if spec.at not in ALIGNABLE:
            problems.append(PlanError(f"alignment is defined for {QUERY}, not for {spec.at!r}", where=place))
        elif not queries:
            what = f"no cross-attention query was found in the {part}"
            problems.append(PlanError(what, where=place, remedy=_NAME_THEM.format(part=part)))
        else:
            found += [
                PlannedAlignment(
                    name=f"layer{layer}",
                    layer=layer,
                    heads=point.heads,
                    head_dim=point.head_dim,
                    per=spec.per,
                    layout=point.layout,
                    init=spec.init,
                    blend=spec.blend,
                )
                for layer, point in sorted(queries.items())
            ]
    return found, problems


def plan_taps(structure: Structure, recipe: Recipe, part: str) -> tuple[list[PlannedTap], list[PlanError]]:
    """The taps that the recipe's distillation targets name, those that an alignment's report reads, and what is wrong.

    part: ``model`` or ``teacher``.
    """
    training = structure.programs["train"]
    found: dict[str, PlannedTap] = {}
    problems = []
    for index, target in enumerate(recipe.distill.targets):
        place = recipe.where(("distill", "targets", index, "at"))
        if target.at in PREDICTIONS:  # they are read from the outputs
            continue
        layers = tapped_layers(structure, target.at)
        if target.at not in DISTILLABLE:
            what, remedy = f"{target.at!r} cannot be distilled", f"one of {', '.join(DISTILLABLE)}"
            problems.append(PlanError(what, where=place, remedy=remedy))
            continue
        if not layers:
            what = f"the {part} has no {target.at} that could be tapped"
            remedy = _there_is(structure) if target.at in MAPS else _NAME_THEM.format(part=part)
            problems.append(PlanError(what, where=place, remedy=remedy))
            continue
        for layer in layers[-1:] if target.layers == "last" else layers:
            tap = tap_at(structure, target.at, layer)
            found[tap.name] = tap
    if recipe.distill.align:  # what calibration reports of an alignment: how far it moves the attention logits
        for layer in training.queries:
            found.setdefault(f"{LOGITS}.{layer}", tap_at(structure, LOGITS, layer))
    return sorted(found.values(), key=lambda tap: (tap.role, tap.layer)), problems


def _there_is(structure: Structure) -> str:
    """What of a model can be distilled."""
    return f"it has {', '.join(at for at in DISTILLABLE if at in PREDICTIONS or tapped_layers(structure, at))}"


def tapped_layers(structure: Structure, role: str) -> list[int]:
    """The decoder layers, or levels of maps, that have a tap, in order. Logits are there where they can be computed."""
    names = (LOGITS, KEY) if role == LOGITS else (role,)
    return sorted({layer for own, layer in structure.programs["train"].taps if own in names})


def tap_at(structure: Structure, role: str, layer: int) -> PlannedTap:
    """One of the training graph's taps."""
    training = structure.programs["train"]
    name, point = f"{role}.{layer}", training.queries.get(layer)
    tap = training.taps.get((role, layer))
    shape = tap.shape if tap is not None else ()
    if tap is not None and role in MAPS:
        channels = shape[1] if len(shape) == 4 else shape[-1]
        return PlannedTap(name, role, layer, int(channels), "map")
    if tap is None and point is not None and point.layout == "bld":
        return PlannedTap(name, role, layer, 0)  # of one head, without a dimension for it
    if tap is None or len(shape) == 4:
        folded = point is not None and point.layout == "bld"
        width = int(shape[1 if not folded else 2]) * int(shape[3]) if shape and is_number(shape[3]) else 0
        return PlannedTap(name, role, layer, width, "bqhc" if folded else "bhqc")
    return PlannedTap(name, role, layer, int(shape[-1]) if shape and is_number(shape[-1]) else 0)


def alignment_warnings(structure: Structure, recipe: Recipe, plan: Plan) -> list[str]:
    """Alignments that cannot be expected to help, and queries that are not aligned."""
    training = structure.programs["train"]
    if not recipe.distill.align or not training.queries:
        return []
    where = place_in_words(recipe, ("distill", "align", 0, "at"))
    real = [layer for layer, point in sorted(training.queries.items()) if not _is_quantized(point, plan)]
    none = sorted({layer for role, layer in training.taps if role == FEATURE and layer not in training.queries})
    warnings = [
        f"alignment cannot be expected to help in {_layers(layers)}, where {reason}: "
        "set blend: learned, or leave align out"
        for reason, layers in _costly(structure, plan).items()
    ]
    if real:
        warnings.append(
            f"the query that is aligned stays real-valued in {_layers(real)}, so that there is nothing to rectify"
        )
    if none:
        warnings.append(f"no query that can be aligned was found in {_layers(none)}")
    for others, layers in _further(structure).items():
        first = training.queries[layers[0]]
        aligned = ", ".join(first.sites) or first.node
        warnings.append(
            f"the attention of {_layers(layers)} has {others + 1} queries, of which one is aligned ({aligned}) and "
            f"{', '.join(training.queries[layers[0]].others)} {'is' if others == 1 else 'are'} not"
        )
    return [f"{where}: {warning}" for warning in warnings]


def taken_by_alignment(structure: Structure, layer: int, per: Literal["head", "query"]) -> list[str]:
    """Why aligning a decoder layer's query would leave little of it; nothing where it would not: docs/results.md."""
    point, reasons = structure.programs["train"].queries[layer], []
    together = point.head_dim if per == "head" else point.heads * point.head_dim
    if together < FEW_CHANNELS:
        reasons.append(f"a {per} has {together} channels, of which standardising takes two degrees of freedom")
    if any(structure.sites[site].kind == "activation" for site in point.sites):
        reasons.append("the query of the deformable attention is the decoder's own state, not a projection of it")
    return reasons


def _costly(structure: Structure, plan: Plan) -> dict[str, list[int]]:
    """By the reasons, the layers whose alignment leaves little of a query."""
    found: dict[str, list[int]] = {}
    for one in plan.alignments:
        reasons = taken_by_alignment(structure, one.layer, one.per)
        if reasons and one.blend is None:
            found.setdefault(" and ".join(reasons), []).append(one.layer)
    return found


def logits_warnings(structure: Structure, recipe: Recipe) -> list[str]:
    """Targets on the logits of an attention that has several products of queries and keys: the first one is tapped."""
    layers = sorted(layer for found in _further(structure).values() for layer in found)
    if not layers:
        return []
    what = f"the attention of {_layers(layers)} has logits of several products, of which the first are compared"
    places = [index for index, target in enumerate(recipe.distill.targets) if target.at == LOGITS]
    return [f"{place_in_words(recipe, ('distill', 'targets', index, 'at'))}: {what}" for index in places]


def _further(structure: Structure) -> dict[int, list[int]]:
    """The decoder layers whose attention has further queries, by how many."""
    found: dict[int, list[int]] = {}
    for layer, point in sorted(structure.programs["train"].queries.items()):
        if point.others:
            found.setdefault(len(point.others), []).append(layer)
    return found


def _layers(layers: list[int]) -> str:
    return f"decoder layer{'s'[: len(layers) != 1]} {', '.join(map(str, layers))}"


def _is_quantized(point: QueryFacts, plan: Plan) -> bool:
    return any(plan.sites[site].spec is not None for site in point.sites)
