"""What is chosen as one: quantizers that must have the same bits."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from ..planning import Plan, Site

Granularity = Literal["role", "module"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


@dataclass(frozen=True)
class Choice:
    """One number of bits for all of these.

    name: of its first site, for people. quantizers: by name. sites: all that use them, also in training alone.
    """

    name: str
    quantizers: tuple[str, ...]
    sites: tuple[str, ...]


def choices_of(plan: Plan, deployed: Collection[str], by: Granularity = "module") -> list[Choice]:
    """What can be chosen, in the graph's order.

    One choice are: sites that share a quantizer; the operands of one kind at one place, as no rule can tell them apart;
    all operands of one attention. By ``role``, all operands of one kind in a role as well.

    Args:
        deployed: the quantizers that the deployed graph has; what only training has keeps the recipe's bits.
    """
    leader: dict[Hashable, Hashable] = {}

    def find(key: Hashable) -> Hashable:
        leader.setdefault(key, key)
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    quantized = {name: site for name, site in plan.sites.items() if site.quantizer is not None}
    for site in quantized.values():
        keys = list(_keys(site, by))
        for key in keys[1:]:
            leader[find(key)] = find(keys[0])
    grouped: dict[Hashable, list[Site]] = {}
    for site in quantized.values():
        grouped.setdefault(find(("quantizer", site.quantizer)), []).append(site)
    found = []
    for sites in grouped.values():
        own = dict.fromkeys(site.quantizer for site in sites if site.quantizer is not None)
        if not any(name in deployed for name in own):
            continue
        found.append(Choice(_name(sites, by), tuple(own), tuple(site.name for site in sites)))
    return found


def _keys(site: Site, by: Granularity) -> Iterator[Hashable]:
    yield ("quantizer", site.quantizer)
    yield ("place", site.module, site.operator, site.role, site.kind)
    if site.kind == "attention":
        yield ("attention", site.module, site.role)
    if by == "role":
        yield ("role", site.role, site.kind)


def _name(sites: list[Site], by: Granularity) -> str:
    first = sites[0]
    if by == "role":
        return f"{first.role} {first.kind}"
    return f"{first.module or first.operator} {first.kind}"
