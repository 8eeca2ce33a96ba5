"""From a captured model and a recipe to the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from ..errors import PlanError, PlanErrors, QRecipeError
from ..graph.captured import Captured
from ..graph.program import GraphMode
from ..graph.shapes import Extent, Symbols, is_number, shape_of
from ..recipe.definition import QuantizerSpec, Recipe, Spot
from ..structure.operands import Operand, operand_at
from ..structure.operations import Operation, find_operations
from ..structure.parameters import parameter_sizes
from ..structure.roles import Roles, discover_roles, override_problems
from ..vocabulary import OperandKind
from .cost import products_of
from .decisions import decisions_of, rule_warnings
from .nearest import missing_role_problems, unmatched_problems
from .plan import Plan, PlannedOperation, Site
from .rules import Verdict, decide, pattern_problems
from .targets import alignment_warnings, plan_alignments, plan_taps
from .unsupported import count_unsupported

WhichModel = Literal["model", "teacher"]


def build_plan(
    captured: Captured,
    recipe: Recipe,
    image_size: tuple[int, int],
    roles_override: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    part: WhichModel = "model",
) -> Plan:
    """Decide every site, alignment and tap; nothing is changed but the programs' ``taps`` and ``queries``.

    Args:
        captured: the model's two graphs.
        image_size: (height, width) at which costs are counted.
        roles_override: the recipe's ``model.roles``, or ``teacher.roles``.
        notes: what the family leaves out.
        part: which of the recipe's models this is, for messages.

    Raises:
        PlanErrors: rules that match nothing, roles and taps that the model lacks: all of them, each at its place.
    """
    _stop_at([*pattern_problems(recipe), *_override_problems(captured, recipe, roles_override, part)])
    operations = find_operations(captured)
    roles = discover_roles(captured, operations, roles_override)
    judged = _judge(recipe, operations, roles)
    sites = _sites(captured, recipe, operations, roles, judged)
    alignments, problems = plan_alignments(captured, recipe, part)
    taps, tap_problems = plan_taps(captured, recipe, part)
    problems += tap_problems
    verdicts = [verdict for _, verdict in judged.values()]
    matched = {index for verdict in verdicts for index in verdict.matched}
    problems += unmatched_problems(recipe, matched, [*operations["train"], *operations["eval"]], dict(roles.of))
    problems += [*_unfinished(recipe, judged), *missing_role_problems(recipe, set(roles.of.values()), part)]
    _stop_at(problems)
    height, width = image_size
    symbols = Symbols.of(captured.programs["eval"].graph)
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
    plan = Plan(
        sites=sites,
        operations=planned,
        alignments=tuple(alignments),
        taps=tuple(taps),
        parameters=parameter_sizes(captured.root, captured.programs),
        image_size=image_size,
        batch_norm=recipe.quantize.batch_norm,
        backbone=roles.backbone,
        notes=notes,
        decisions=decisions_of(recipe, judged.values()),
        unsupported=count_unsupported(captured.programs["eval"]),
    )
    warnings = (*rule_warnings(recipe, judged.values()), *alignment_warnings(captured, recipe, plan))
    return dataclasses.replace(plan, warnings=warnings)


def _stop_at(problems: list[PlanError]) -> None:
    """Raise them, those of one file from its top to its bottom. Raises: PlanErrors."""
    if problems:
        raise PlanErrors(sorted(problems, key=_line))


def _line(problem: QRecipeError) -> tuple[str, int, int]:
    mark = problem.where.mark if isinstance(problem.where, Spot) else None
    return ("", 0, 0) if mark is None else (mark.file, mark.line, mark.column)


def _override_problems(
    captured: Captured, recipe: Recipe, overrides: Mapping[str, str] | None, part: WhichModel
) -> list[PlanError]:
    return [
        PlanError(problem.what, where=recipe.where((part, "roles", role)), remedy=problem.remedy)
        for role, problem in override_problems(captured, overrides or {}).items()
    ]


def _judge(
    recipe: Recipe, operations: Mapping[GraphMode, list[Operation]], roles: Roles
) -> dict[str, tuple[OperandKind, Verdict]]:
    """Every site's kind and what is decided of it; a site of both programs, or of several calls, once."""
    judged: dict[str, tuple[OperandKind, Verdict]] = {}
    for operation in (*operations["train"], *operations["eval"]):
        for operand in operation.operands:
            if operand.site not in judged:
                verdict = decide(recipe.quantize, operation, operand, roles.of[operation.name])
                judged[operand.site] = operand.kind, verdict
    return judged


def _unfinished(recipe: Recipe, judged: Mapping[str, tuple[OperandKind, Verdict]]) -> list[PlanError]:
    """Rules that quantize what has no default without saying enough, once for each kind of operand."""
    found: dict[tuple[int, OperandKind], PlanError] = {}
    for site, (kind, verdict) in judged.items():
        if verdict.problem is None:
            continue
        index, missing = verdict.problem
        what = f"the rule quantizes {site}, for which quantize.{kind} gives no default, without {missing}"
        where = recipe.where((*recipe.quantize.rules[index].path, kind))
        found.setdefault((index, kind), PlanError(what, where=where, remedy="name them in the rule"))
    return list(found.values())


def _sites(
    captured: Captured,
    recipe: Recipe,
    operations: Mapping[GraphMode, list[Operation]],
    roles: Roles,
    judged: Mapping[str, tuple[OperandKind, Verdict]],
) -> dict[str, Site]:
    sites: dict[str, Site] = {}
    sharing: dict[tuple[object, ...], str] = {}
    for mode in operations:
        symbols = Symbols.of(captured.programs[mode].graph)
        aligned = _aligned_slots(captured, mode, recipe)
        for operation in operations[mode]:
            for operand in operation.operands:
                if operand.site in sites:
                    continue
                verdict = judged[operand.site][1]
                site = _site(operation, operand, roles.of[operation.name], verdict.spec, verdict.reason, symbols)
                is_aligned = (operation.node, operand.slot) in aligned
                sites[site.name] = _share(site, operation, operand, mode, is_aligned, sharing)
    return sites


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
    mode: GraphMode,
    aligned: bool,
    sharing: dict[tuple[object, ...], str],
) -> Site:
    """Give sites that read one tensor with one spec the same quantizer. An aligned query is another tensor."""
    source = operand_at(operation.node, operand.slot)
    if site.quantizer is None or site.kind == "weight" or source is None:
        return site
    key = (mode, source, site.spec, site.axis, aligned)
    return dataclasses.replace(site, quantizer=sharing.setdefault(key, site.quantizer))


def _aligned_slots(captured: Captured, mode: GraphMode, recipe: Recipe) -> set[tuple[object, object]]:
    if not recipe.distill.align:
        return set()
    return {user for point in captured.programs[mode].queries.values() for user in point.users}
