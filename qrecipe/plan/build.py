"""From a captured model and a recipe to the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..errors import PlanError
from ..graph.attention import TAPS
from ..graph.capture import Captured
from ..graph.face import Structure
from ..graph.operands import Operand, operand_at
from ..graph.operations import Operation, canonical_parameters, find_operations
from ..graph.roles import discover_roles
from ..graph.shapes import Extent, Symbols, is_number, shape_of
from ..recipe.definition import QuantizerSpec, Recipe
from .cost import products_of
from .plan import Plan, PlannedAlignment, PlannedOperation, PlannedTap, Site
from .rules import check_patterns, decide, unmatched

LOGITS = "decoder.cross_attention.logits"


def build_plan(
    captured: Captured,
    recipe: Recipe,
    image_size: tuple[int, int],
    roles_override: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Decide every site, alignment and tap; nothing is changed but the faces' ``taps`` and ``queries``.

    Args:
        captured: the model's two graphs.
        image_size: (height, width) at which costs are counted.
        roles_override: the recipe's ``model.roles``.
        notes: what the family leaves out.

    Raises:
        PlanError: a rule that matches nothing, a role that the model lacks, a width that does not fit.
    """
    check_patterns(recipe)
    operations = find_operations(captured)
    roles = discover_roles(captured, operations, roles_override)
    sites: dict[str, Site] = {}
    matched: set[int] = set()
    sharing: dict[tuple[object, ...], str] = {}
    for structure in ("train", "eval"):
        symbols = Symbols.of(captured.faces[structure].graph)
        aligned = _aligned_slots(captured, structure, recipe)
        for operation in operations[structure]:
            for operand in operation.operands:
                if operand.site in sites:
                    continue
                spec, reason, rules = decide(recipe.quantize, operation, operand, roles.of[operation.name])
                matched.update(rules)
                site = _site(operation, operand, roles.of[operation.name], spec, reason, symbols)
                is_aligned = (operation.node, operand.slot) in aligned
                sites[site.name] = _share(site, operation, operand, structure, is_aligned, sharing)
    everything = [*operations["train"], *operations["eval"]]
    unmatched(recipe, matched, everything, set(roles.of.values()))
    height, width = image_size
    symbols = Symbols.of(captured.faces["eval"].graph)
    planned = tuple(
        PlannedOperation(
            operation.name,
            operation.module,
            operation.operator,
            roles.of[operation.name],
            products_of(operation, symbols, height, width),
        )
        for operation in operations["eval"]
    )
    canonical = canonical_parameters(captured.root)
    parameters = {
        name: parameter.numel() for name, parameter in captured.root.named_parameters() if canonical[name] == name
    }
    return Plan(
        sites=sites,
        operations=planned,
        alignments=_alignments(captured, recipe),
        taps=_taps(captured, recipe),
        parameters=parameters,
        image_size=image_size,
        batch_norm=recipe.quantize.batch_norm,
        backbone=roles.backbone,
        notes=notes,
    )


def _site(
    operation: Operation, operand: Operand, role: str, spec: QuantizerSpec | None, reason: str, symbols: Symbols
) -> Site:
    shape = _operand_shape(operation, operand)
    axis, size, note = None, 1, ""
    if spec is not None and spec.per == "channel":
        axis = 1 if operation.operator == "conv_transpose" else 0
        size = int(shape[axis])
    elif spec is not None and spec.per == "head":
        if len(shape) == 4 and is_number(shape[1]) and symbols.batched(shape[:1]) and shape[0] == symbols.batch:
            axis, size = 1, int(shape[1])
        else:
            spec = dataclasses.replace(spec, per="tensor")
            note = "one scale for all heads: they are folded into the batch here"
    return Site(
        name=operand.site,
        operation=operation.name,
        module=operation.module,
        operator=operation.operator,
        operand=operand.name,
        slot=operand.slot,
        kind=operand.kind,
        role=role,
        shape=symbols.text(shape),
        spec=spec,
        reason=reason,
        quantizer=operand.site if spec is not None else None,
        axis=axis,
        size=size,
        batched=operand.kind != "weight" and symbols.batched(shape),
        note=note,
    )


def _operand_shape(operation: Operation, operand: Operand) -> tuple[Extent, ...]:
    node = operation.node
    if operand.slot == "probabilities":
        query, key = shape_of(node.args[0]) or (), shape_of(node.args[1]) or ()
        return (*query[:-1], key[-2])
    return shape_of(operand_at(node, operand.slot)) or ()


def _share(
    site: Site,
    operation: Operation,
    operand: Operand,
    structure: Structure,
    aligned: bool,
    sharing: dict[tuple[object, ...], str],
) -> Site:
    """Give sites that read one tensor with one spec the same quantizer. An aligned query is another tensor."""
    source = operand_at(operation.node, operand.slot)
    if site.quantizer is None or site.kind == "weight" or source is None:
        return site
    key = (structure, source, site.spec, site.axis, aligned)
    return dataclasses.replace(site, quantizer=sharing.setdefault(key, site.quantizer))


def _aligned_slots(captured: Captured, structure: Structure, recipe: Recipe) -> set[tuple[object, object]]:
    if not recipe.distill.align:
        return set()
    return {user for point in captured.faces[structure].queries.values() for user in point.users}


def _alignments(captured: Captured, recipe: Recipe) -> tuple[PlannedAlignment, ...]:
    found = []
    for index, spec in enumerate(recipe.distill.align):
        place = recipe.where(("distill", "align", index, "at"))
        if spec.at != "decoder.cross_attention.query":
            raise PlanError(f"alignment is defined for decoder.cross_attention.query, not for {spec.at!r}", where=place)
        queries = captured.faces["train"].queries
        if not queries:
            raise PlanError(
                "no cross-attention query was found in the model",
                where=place,
                remedy="name the modules under model.roles: {decoder.cross_attention: GLOB}",
            )
        found += [
            PlannedAlignment(f"layer{layer}", layer, point.heads, point.head_dim, spec.per, point.layout, spec.init)
            for layer, point in sorted(queries.items())
        ]
    return tuple(found)


def _taps(captured: Captured, recipe: Recipe) -> tuple[PlannedTap, ...]:
    """The taps that the recipe's distillation targets name, and with alignment those that its report reads."""
    face = captured.faces["train"]
    found: dict[str, PlannedTap] = {}
    for index, target in enumerate(recipe.distill.targets):
        place = recipe.where(("distill", "targets", index, "at"))
        if target.at not in TAPS:
            raise PlanError(f"{target.at!r} cannot be tapped", where=place, remedy=f"one of {', '.join(TAPS)}")
        layers = sorted(layer for role, layer in face.taps if role == target.at)
        if not layers:
            raise PlanError(
                f"the model has no {target.at} that could be tapped",
                where=place,
                remedy="name the modules under model.roles: {decoder.cross_attention: GLOB}",
            )
        for layer in layers[-1:] if target.layers == "last" else layers:
            tap = face.taps[target.at, layer]
            if len(shape_of(tap) or ()) != 3:
                raise PlanError(
                    f"{target.at} is no feature per query here, so it cannot be distilled",
                    where=place,
                    remedy="distil decoder.cross_attention.output or decoder.layer.output",
                )
            found[f"{target.at}.{layer}"] = _tap(captured, target.at, layer)
    if recipe.distill.align:  # what calibration reports of an alignment: how far it moves the attention logits
        for layer in face.queries:
            found.setdefault(f"{LOGITS}.{layer}", PlannedTap(f"{LOGITS}.{layer}", LOGITS, layer, 0))
    return tuple(sorted(found.values(), key=lambda tap: (tap.role, tap.layer)))


def _tap(captured: Captured, role: str, layer: int) -> PlannedTap:
    shape = shape_of(captured.faces["train"].taps[role, layer]) or ()
    width = int(shape[-1]) if shape and is_number(shape[-1]) else 0
    return PlannedTap(f"{role}.{layer}", role, layer, width)
