"""A plan's costs by role or module, and what of it stays real-valued. Every table and the JSON are made from these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...graph.flow import within
from ...structure.operands import PASSIVE
from ...vocabulary import OPERAND_KINDS, OperandKind
from ..cost import Cost, cost_of_parts
from ..plan import Plan, PlannedOperation, Site
from .collapse import at_depth, collapse

ELSEWHERE = "(norms, embeddings)"
"""The row of parameters that belong to no operation with sites."""


@dataclass(frozen=True)
class Part:
    """One row: a role or a module, with its own share of the whole plan's cost.

    count: how many modules alike it stands for. sites, quantized: operands of operations that multiply, and of what
    defaults pass over where it is quantized. bits: by kind of operand, the bits found, 32 for real-valued.
    """

    name: str
    count: int
    sites: int
    quantized: int
    bits: dict[OperandKind, tuple[int, ...]]
    cost: Cost


@dataclass(frozen=True)
class Unquantized:
    """Operands that stay real-valued for one reason in one role.

    operators: how many operands, by operator. macs: of the operations that one of these operands takes part in.
    """

    reason: str
    place: str
    role: str
    operators: dict[str, int]
    macs: int


def by_role(plan: Plan) -> list[Part]:
    """A row for each role, in the order of the graph. Rows add up to the plan's whole cost."""
    roles = {site.name: site.role for site in plan.sites.values()}
    modules = {site.module: site.role for site in reversed(list(plan.sites.values()))}
    return _parts(plan, lambda site: site.role, lambda operation: operation.role, _owner(roles, modules))


def by_module(plan: Plan, depth: int) -> list[Part]:
    """A row for each module ``depth`` levels down, repeated ones that are alike in one. Rows add up as by role.

    A module around the backbone, as transformers' ``model``, is no level of its own.
    """
    around = plan.backbone[0].rpartition(".")[0] if plan.backbone else ""

    def module(path: str) -> str:
        deeper = around.count(".") + 1 if around and within(path, around) else 0
        return at_depth(path, depth + deeper) or ELSEWHERE

    rows = _parts(
        plan,
        lambda site: module(site.module),
        lambda operation: module(operation.module),
        lambda parameter: module(parameter.rpartition(".")[0]),
    )
    named = {row.name: row for row in rows}
    alike = {
        row.name: (row.sites, row.quantized, tuple(row.bits.items()), row.cost.parameters, row.cost.macs)
        for row in rows
    }
    return [_joined(group.label, [named[name] for name in group.members]) for group in collapse(alike)]


def whole(plan: Plan) -> Part:
    """The row of everything."""
    return _part(plan, "in all", list(plan.sites.values()), plan.operations, list(plan.parameters))


def unquantized(plan: Plan) -> list[Unquantized]:
    """What has no quantizer, by reason and role: rules first in the order of the graph, then what nobody asked for."""
    places = {decision.reason: decision.place for decision in plan.decisions}
    found: dict[tuple[str, str], list[Site]] = {}
    for site in plan.sites.values():
        if site.spec is None:
            found.setdefault((site.reason, "" if site.operator in PASSIVE else site.role), []).append(site)
    listed = []
    for (reason, role), sites in sorted(found.items(), key=lambda item: not item[0][1]):
        operators: dict[str, int] = {}
        for site in sites:
            operators[site.operator] = operators.get(site.operator, 0) + 1
        listed.append(Unquantized(reason, places.get(reason, ""), role, operators, _macs(plan, sites)))
    reasons = list(dict.fromkeys(one.reason for one in listed))
    return sorted(listed, key=lambda one: reasons.index(one.reason))


def real_macs(plan: Plan) -> int:
    """Multiply-accumulates with at least one real-valued operand."""
    return _macs(plan, [site for site in plan.sites.values() if site.spec is None])


def _macs(plan: Plan, sites: list[Site]) -> int:
    names = {site.name for site in sites}
    products = [product for operation in plan.operations for product in operation.products]
    return sum(product.macs for product in products if product.left in names or product.right in names)


def _owner(roles: dict[str, str], modules: dict[str, str]) -> Callable[[str], str]:
    """A parameter's role: its own site's, or else that of the operations in its module, as a bias has it."""
    return lambda parameter: roles.get(parameter) or modules.get(parameter.rpartition(".")[0]) or ELSEWHERE


def _parts(
    plan: Plan,
    site_key: Callable[[Site], str],
    operation_key: Callable[[PlannedOperation], str],
    parameter_key: Callable[[str], str],
) -> list[Part]:
    sites: dict[str, list[Site]] = {}
    operations: dict[str, list[PlannedOperation]] = {}
    parameters: dict[str, list[str]] = {}
    for site in plan.sites.values():
        sites.setdefault(site_key(site), []).append(site)
    for operation in plan.operations:
        operations.setdefault(operation_key(operation), []).append(operation)
    for name in plan.parameters:
        parameters.setdefault(parameter_key(name), []).append(name)
    names = [name for name in dict.fromkeys((*sites, *operations, *parameters)) if name != ELSEWHERE]
    rows = [
        _part(plan, name, sites.get(name, []), operations.get(name, ()), parameters.get(name, []))
        for name in (*names, *([ELSEWHERE] if ELSEWHERE in {*sites, *operations, *parameters} else []))
    ]
    return [row for row in rows if row.sites or row.cost.parameters or row.cost.macs]


def _part(
    plan: Plan, name: str, sites: list[Site], operations: Iterable[PlannedOperation], parameters: list[str]
) -> Part:
    counted = [site for site in sites if site.counts]
    owned = {site.name for site in sites}
    quantizers = [first for first in plan.quantizers.values() if first.name in owned]
    bits: dict[OperandKind, tuple[int, ...]] = {
        kind: tuple(sorted({plan.bits(site.name) for site in counted if site.kind == kind})) for kind in OPERAND_KINDS
    }
    cost = cost_of_parts(plan, operations, parameters, quantizers)
    return Part(name, 1, len(counted), sum(site.spec is not None for site in counted), bits, cost)


def _joined(label: str, rows: list[Part]) -> Part:
    first, costs = rows[0], [row.cost for row in rows]
    if len(rows) == 1:
        return first
    total = costs[0]
    for cost in costs[1:]:
        total += cost
    sites, quantized = sum(row.sites for row in rows), sum(row.quantized for row in rows)
    return Part(label, len(rows), sites, quantized, first.bits, total)
