"""What a captured model is made of, as data: roles, modules, taps, queries, and the size of its graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from ...structure import Structure
from ...vocabulary import MAPS, TAPS
from ..plan import Plan
from ..targets import tap_at, tapped_layers
from .breakdown import by_role
from .collapse import collapse, ranges


@dataclass(frozen=True)
class RoleShare:
    """One role. modules: the highest modules that hold nothing of another role, repeated ones as ranges."""

    role: str
    modules: tuple[str, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class TapPoint:
    """What can be tapped, and distilled, in which decoder layers. width: channels of one query's feature, 0 where that
    depends on the image."""

    role: str
    layers: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class LayerQuery:
    """A decoder layer's cross-attention query; heads and head_dim are None where it has none that can be aligned.

    others: operands that read further queries of the same attention, which are not aligned.
    """

    layer: int
    heads: int | None
    head_dim: int | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleNode:
    """A module. count: how many siblings alike it stands for; parameters and macs are of all of them, and below.

    roles: of the operations in it and below, in order.
    """

    name: str
    kind: str
    count: int
    parameters: int
    macs: int
    roles: tuple[str, ...]
    children: tuple[ModuleNode, ...]


@dataclass(frozen=True)
class Anatomy:
    """A model. nodes: of its training and its evaluation graph."""

    image_size: tuple[int, int]
    parameters: int
    macs: int
    roles: tuple[RoleShare, ...]
    taps: tuple[TapPoint, ...]
    queries: tuple[LayerQuery, ...]
    nodes: Mapping[str, int]
    tree: ModuleNode

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def anatomy(root: nn.Module, structure: Structure, plan: Plan) -> Anatomy:
    """Describe a captured model by its modules, its structure and its plan."""
    modules = _modules(plan)
    roles = tuple(
        RoleShare(part.name, modules.get(part.name, ()), part.cost.parameters, part.cost.macs) for part in by_role(plan)
    )
    training = structure.programs["train"]
    layers = sorted({layer for role, layer in training.taps if role not in MAPS})
    queries = []
    for layer in layers:
        point = training.queries.get(layer)
        found = (point.heads, point.head_dim, point.others) if point is not None else (None, None)
        queries.append(LayerQuery(layer, *found))
    return Anatomy(
        image_size=plan.image_size,
        parameters=sum(plan.parameters.values()),
        macs=sum(operation.macs for operation in plan.operations),
        roles=roles,
        taps=tuple(_taps(structure)),
        queries=tuple(queries),
        nodes={mode: program.nodes for mode, program in structure.programs.items()},
        tree=_tree(root, plan),
    )


def _taps(structure: Structure) -> list[TapPoint]:
    found = []
    for role in (*TAPS, *MAPS):
        layers = tuple(tapped_layers(structure, role))
        if layers:
            found.append(TapPoint(role, layers, tap_at(structure, role, layers[-1]).width))
    return found


def _modules(plan: Plan) -> dict[str, tuple[str, ...]]:
    """By role, the highest modules all of whose operations have it."""
    roles: dict[str, set[str]] = {}
    for site in plan.sites.values():
        if site.counts:
            for path in _above(site.module):
                roles.setdefault(path, set()).add(site.role)
    found: dict[str, dict[str, str]] = {}
    for site in plan.sites.values():
        if site.counts:
            pure = next((path for path in _above(site.module) if len(roles[path]) == 1), site.module)
            found.setdefault(site.role, {})[pure or "(the model itself)"] = ""
    return {role: tuple(group.label for group in collapse(paths)) for role, paths in found.items()}


def _above(module: str) -> list[str]:
    """The module and the modules around it, the outermost first; the model itself left out."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)] if module else []


def _tree(root: nn.Module, plan: Plan) -> ModuleNode:
    """The modules that hold parameters or operations."""
    parameters: dict[str, int] = {}
    for name, count in plan.parameters.items():
        for path in ("", *_above(name.rpartition(".")[0])):
            parameters[path] = parameters.get(path, 0) + count
    macs: dict[str, int] = {}
    roles: dict[str, dict[str, None]] = {}
    for operation in plan.operations:
        for path in ("", *_above(operation.module)):
            macs[path] = macs.get(path, 0) + operation.macs
    for site in plan.sites.values():
        if site.counts:
            for path in ("", *_above(site.module)):
                roles.setdefault(path, {})[site.role] = None

    def node(name: str, path: str, module: nn.Module) -> ModuleNode:
        children = []
        for own, child in module.named_children():
            below = f"{path}.{own}" if path else own
            if parameters.get(below) or macs.get(below):
                children.append(node(own, below, child))
        return ModuleNode(
            name,
            type(module).__name__,
            1,
            parameters.get(path, 0),
            macs.get(path, 0),
            tuple(roles.get(path, ())),
            _merged(children),
        )

    return node("", "", root)


def _merged(children: list[ModuleNode]) -> tuple[ModuleNode, ...]:
    """Neighbours with numbers for names that are alike as one."""
    runs: list[list[ModuleNode]] = []
    for child in children:
        if runs and child.name.isdecimal() and runs[-1][0].name.isdecimal() and _alike(child, runs[-1][0]):
            runs[-1].append(child)
        else:
            runs.append([child])
    return tuple(_sum(run) for run in runs)


def _alike(a: ModuleNode, b: ModuleNode) -> bool:
    same = (a.kind, a.parameters, a.macs, a.roles) == (b.kind, b.parameters, b.macs, b.roles)
    return (
        same
        and [child.name for child in a.children] == [child.name for child in b.children]
        and all(_alike(mine, theirs) for mine, theirs in zip(a.children, b.children, strict=True))
    )


def _sum(run: list[ModuleNode]) -> ModuleNode:
    first = run[0]
    if len(run) == 1:
        return first
    return _times(first, len(run), ranges(int(one.name) for one in run))


def _times(node: ModuleNode, count: int, name: str) -> ModuleNode:
    children = tuple(_times(child, count, child.name) for child in node.children)
    return ModuleNode(
        name, node.kind, node.count * count, node.parameters * count, node.macs * count, node.roles, children
    )
