"""The plan: pure data that says what the passes will do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..graph.operands import OperandKind, Slot
from ..recipe.definition import QuantizerSpec


@dataclass(frozen=True)
class Site:
    """One operand of one operation (weights: of one parameter).

    quantizer: the name of the fake quantizer that it uses, None where it stays real-valued. Sites that read the same
        tensor with the same spec share one.
    axis, size: the dimension with scales of its own and how many; axis None is one scale for the tensor.
    batched: whether dimension 0 holds the batch.
    reason: which rule or default decided.
    """

    name: str
    operation: str
    module: str
    operator: str
    operand: str
    slot: Slot
    kind: OperandKind
    role: str
    shape: str
    spec: QuantizerSpec | None
    reason: str
    quantizer: str | None = None
    axis: int | None = None
    size: int = 1
    batched: bool = False
    note: str = ""


@dataclass(frozen=True)
class Product:
    """Multiply-accumulates of one image, and the sites of the two operands."""

    macs: int
    left: str
    right: str


@dataclass(frozen=True)
class PlannedOperation:
    """One operation of the evaluation graph with what it costs at the plan's image size."""

    name: str
    module: str
    operator: str
    role: str
    products: tuple[Product, ...]

    @property
    def macs(self) -> int:
        return sum(product.macs for product in self.products)


@dataclass(frozen=True)
class PlannedAlignment:
    """One aligned query (Q-DETR 2.32)."""

    name: str
    layer: int
    heads: int
    head_dim: int
    per: Literal["head", "query"]
    layout: Literal["bhld", "bld"]
    init: Literal["fit", "identity"]


@dataclass(frozen=True)
class PlannedTap:
    """One value that ``with_taps`` returns: ``name`` is role and layer; ``width`` its last extent."""

    name: str
    role: str
    layer: int
    width: int


@dataclass(frozen=True)
class Plan:
    """Everything the passes carry out. ``parameters``: number of elements by (canonical) parameter name."""

    sites: Mapping[str, Site]
    operations: tuple[PlannedOperation, ...]
    alignments: tuple[PlannedAlignment, ...]
    taps: tuple[PlannedTap, ...]
    parameters: Mapping[str, int]
    image_size: tuple[int, int]
    batch_norm: Literal["frozen", "live"]
    backbone: str
    notes: tuple[str, ...] = ()

    @property
    def quantizers(self) -> dict[str, Site]:
        """Fake quantizer name to the first site that uses it."""
        found: dict[str, Site] = {}
        for site in self.sites.values():
            if site.quantizer is not None:
                found.setdefault(site.quantizer, site)
        return found

    def bits(self, site: str) -> int:
        """Bits of a site's operand; 32 where it is real-valued or no site."""
        spec = self.sites[site].spec if site in self.sites else None
        return spec.bits if spec is not None else 32

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a run folder."""
        data = dataclasses.asdict(self)
        data["sites"] = list(data["sites"].values())
        return data
