"""A plan as plain data: what ``qrecipe plan --json`` prints and a run folder keeps. docs/plan.md names the keys."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...structure import BlockFacts, Chain
from ..plan import Plan, Site
from .breakdown import Part, by_module, by_role, real_macs, unquantized, whole

DEPTH = 2
"""Levels of module paths that tables show unless told otherwise."""


def describe(plan: Plan, depth: int = DEPTH) -> dict[str, Any]:
    """Every key of the plan, ``blocks`` and ``whole`` where it reconstructs them.

    depth: levels of the module paths in ``by_module``.
    """
    total = whole(plan)
    return {
        "image_size": list(plan.image_size),
        "batch_norm": plan.batch_norm,
        "backbone": list(plan.backbone),
        "totals": {
            **_part(total, total.cost.macs, "name"),
            "quantizers": len(plan.quantizers),
            "real_valued_macs": real_macs(plan),
        },
        "by_role": [_part(part, total.cost.macs, "role") for part in by_role(plan)],
        "by_module": [_part(part, total.cost.macs, "module") for part in by_module(plan, depth)],
        "by_rule": [dataclasses.asdict(decision) for decision in plan.decisions],
        "real_valued": [dataclasses.asdict(one) for one in unquantized(plan)],
        "unsupported": dict(plan.unsupported),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "alignments": [dataclasses.asdict(one) for one in plan.alignments],
        "equalized": [_chain(chain) for chain in plan.equalized],
        "smoothed": [_chain(chain) for chain in plan.smoothed],
        "corrections": [dataclasses.asdict(one) for one in plan.corrections],
        "taps": [dataclasses.asdict(one) for one in plan.taps],
        "sites": [_site(site) for site in plan.sites.values()],
        "operations": [dataclasses.asdict(operation) for operation in plan.operations],
        "parameters": dict(plan.parameters),
        **({"blocks": [_block(block) for block in plan.blocks]} if plan.blocks else {}),
        **({"whole": dataclasses.asdict(plan.whole)} if plan.whole else {}),
    }


def _site(site: Site) -> dict[str, Any]:
    data = dataclasses.asdict(site)
    del data["extents"]
    return data


def _chain(chain: Chain) -> dict[str, Any]:
    return {"first": chain.source, "channels": chain.channels, "readers": [reader.weight for reader in chain.readers]}


def _block(block: BlockFacts) -> dict[str, Any]:
    return {"name": block.name, "weighted": len(block.operations), "operations": list(block.operations)}


def _part(part: Part, macs: int, key: str) -> dict[str, Any]:
    return {
        key: part.name,
        "count": part.count,
        "sites": {"quantized": part.quantized, "total": part.sites},
        "bits": {kind: list(bits) for kind, bits in part.bits.items()},
        **part.cost.to_dict(),
        "share": part.cost.macs / max(macs, 1),
    }
