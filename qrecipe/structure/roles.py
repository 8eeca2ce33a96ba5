"""What each part of a captured detector is for: backbone, encoder, decoder, attentions, heads."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import PlanError
from ..graph.captured import Captured
from ..graph.flow import within
from ..graph.program import GraphMode
from ..suggestions import closest_are, did_you_mean, nearest
from ..vocabulary import OVERRIDABLE, ROLES
from .assign_roles import assign_roles, find_backbone
from .attending import attending
from .cross_attention import by_layer, find_cross_attention
from .operations import Operation


@dataclass(frozen=True)
class Roles:
    """What the parts of a model are for. All paths are module paths.

    of: operation name to role. attending: the names of the operations that belong to an attention.
    backbone: the backbone's module paths: one that was found, or all that an override names; empty where there is none.
    layers: the decoder layers' paths, in order; cross_attention: the cross-attention modules in them, and crossing,
    layer by layer.
    """

    of: Mapping[str, str]
    attending: frozenset[str]
    backbone: tuple[str, ...]
    layers: tuple[str, ...]
    cross_attention: tuple[str, ...]
    crossing: tuple[tuple[str, ...], ...]


def role_matches(pattern: str, role: str) -> bool:
    """Whether a role pattern (a glob) names this role or a part that contains it: ``backbone`` names them all."""
    return fnmatch.fnmatchcase(role, pattern) or fnmatch.fnmatchcase(role, f"{pattern}.*")


def discover_roles(
    captured: Captured, operations: Mapping[GraphMode, list[Operation]], overrides: Mapping[str, str] | None = None
) -> Roles:
    """Discover the roles.

    Args:
        overrides: role to a glob over module paths, from the recipe; it wins over what is discovered.

    Raises:
        PlanError: an override of no role, or one that matches no module.
    """
    named = _overridden(captured, overrides or {})
    cross = named.get("decoder.cross_attention") or find_cross_attention(captured.programs["train"])
    grouped = by_layer(captured.programs["train"], cross)
    layers = tuple(layer for layer, _ in grouped)
    backbone = named["backbone"] if "backbone" in named else find_backbone(operations["train"], layers)
    roles: dict[str, str] = {}
    attends: set[str] = set()
    for mode in ("eval", "train"):
        own = operations[mode]
        attention = attending(own)
        roles.update(assign_roles(captured.programs[mode], own, attention, backbone, layers, cross))
        attends |= {operation.name for operation in own if operation.node in attention}
    for role, paths in named.items():
        for operation in (*operations["train"], *operations["eval"]):
            if role in ROLES and any(within(operation.module, path) for path in paths):
                roles[operation.name] = role
    return Roles(roles, frozenset(attends), backbone, layers, cross, tuple(paths for _, paths in grouped))


def _overridden(captured: Captured, overrides: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The modules that each override names; of nested ones the outermost."""
    for problem in override_problems(captured, overrides).values():
        raise problem
    names = _module_names(captured)
    found: dict[str, tuple[str, ...]] = {}
    for role, pattern in overrides.items():
        paths = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
        found[role] = tuple(path for path in paths if not any(other != path and within(path, other) for other in paths))
    return found


def override_problems(captured: Captured, overrides: Mapping[str, str]) -> dict[str, PlanError]:
    """What is wrong with each override that is of no role, or matches no module, by its role."""
    names = _module_names(captured)
    problems = {}
    for role, pattern in overrides.items():
        where = f"model.roles.{role}"
        if role not in OVERRIDABLE:
            remedy = did_you_mean(role, OVERRIDABLE) or f"roles are {', '.join(OVERRIDABLE)}"
            problems[role] = PlanError(f"there is no role {role!r}", where=where, remedy=remedy)
        elif not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            what = f"no module matches {pattern!r}"
            problems[role] = PlanError(what, where=where, remedy=closest_are(nearest(pattern, names)))
    return problems


def _module_names(captured: Captured) -> list[str]:
    return [name for name, _ in captured.root.named_modules(remove_duplicate=False) if name]
