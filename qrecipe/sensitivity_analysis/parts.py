"""The parts of a detector that are quantized one at a time: roles, modules, or single operands."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, get_args

from ..planning import Plan, Site, at_depth

By = Literal["role", "module", "operand"]
BY: tuple[By, ...] = get_args(By)
DEPTH = 3
"""Levels of module paths, where parts are modules."""


@dataclass(frozen=True)
class PartOfModel:
    """quantizers: by name; one that several parts share belongs to that of its first site.

    macs: the share of the detector's multiply-accumulates that it takes part in, 0..1.
    """

    name: str
    quantizers: tuple[str, ...]
    macs: float


def parts_of(plan: Plan, quantizers: Collection[str], by: By, depth: int = DEPTH) -> list[PartOfModel]:
    """The parts that have any of ``quantizers``, in the graph's order.

    Args:
        depth: of module paths, where ``by`` is ``module``.
    """
    keys: dict[By, Callable[[Site], str]] = {
        "role": lambda site: site.role,
        "module": lambda site: at_depth(site.module, depth) or site.operator,
        "operand": lambda site: site.quantizer or "",
    }
    members: dict[str, list[str]] = {}
    for name, site in plan.quantizers.items():
        if name in quantizers:
            members.setdefault(keys[by](site), []).append(name)
    return [PartOfModel(name, tuple(own), _share(plan, set(own))) for name, own in members.items()]


def _share(plan: Plan, quantizers: set[str]) -> float:
    products = [product for operation in plan.operations for product in operation.products]
    mine = {name for name, site in plan.sites.items() if site.quantizer in quantizers}
    touched = sum(product.macs for product in products if product.left in mine or product.right in mine)
    return touched / max(sum(product.macs for product in products), 1)
