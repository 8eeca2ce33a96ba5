"""The plan: pure data that says what the passes will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..recipe.definition import QuantizerSpec, WholeSpec
from ..structure import BlockFacts, Chain
from ..structure.operands import PASSIVE, Slot
from ..vocabulary import OperandKind

CHOSEN = "chosen site by site"
"""The reason of quantizers that no recipe decides, but what made the plan."""


@dataclass(frozen=True)
class Site:
    """One operand of one operation (weights: of one parameter).

    quantizer: the name of the fake quantizer that it uses, None where it stays real-valued. Sites that read the same
        tensor with the same spec share one.
    axis, size: the dimension with scales of its own and how many; axis None is one scale for the tensor.
    batched: whether dimension 0 holds the batch.
    shape, extents: the operand's, for people, and as numbers: None for one that changes with the batch or the image.
        Plans in files have the first alone.
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
    extents: tuple[int | None, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether tables count it: additions, concatenations, pools and SiLU only where they are quantized."""
        return self.operator not in PASSIVE or self.spec is not None


@dataclass(frozen=True)
class Decision:
    """A default or a rule of the recipe, and how many operands it decides. The last rule that matches decides.

    reason: what ``Site.reason`` says where it decides. place: ``file:line`` in the recipe, "" where it has none.
    matched, decided, in_part: operands by kind: that it is about; that it decides; that it helps to decide, as a
        later rule which decides leaves some of its keys as they are. A kind that it does not set is left out.
    """

    reason: str
    place: str
    matched: Mapping[OperandKind, int]
    decided: Mapping[OperandKind, int]
    in_part: Mapping[OperandKind, int]


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
    blend: Literal["learned"] | None = None


@dataclass(frozen=True)
class PlannedCorrection:
    """The bias of the layers of one weight, corrected in calibration.

    site: the weight's, and its quantizer's name. channels: of the output. added: whether a layer that reads it has no
    bias of its own, so that one is added.
    """

    site: str
    channels: int
    added: bool


@dataclass(frozen=True)
class PlannedTap:
    """One value that ``with_taps`` returns.

    name: role and layer, or level. width: channels of a map, or of a query's feature, all heads together; 0 where that
        depends on the image.
    layout: its dimensions: batch, queries, heads, channels; or a map.
    """

    name: str
    role: str
    layer: int
    width: int
    layout: Literal["bqc", "bhqc", "bqhc", "map"] = "bqc"


@dataclass(frozen=True)
class Plan:
    """Everything the passes carry out, and what people are told of it.

    parameters: number of elements by (canonical) parameter name.
    decisions: the recipe's defaults and rules, in order, those that decide nothing too.
    unsupported: operations of the evaluation graph that no recipe quantizes, by operator: how many.
    warnings: sentences on what the recipe says in vain, each with its place.
    equalized: chains between whose weights scales are moved. smoothed: those behind a LayerNorm into which calibration
        moves outliers.
    corrections: weights whose layers' biases calibration corrects.
    blocks: what reconstruction optimises, one after the other; none where the recipe does not ask for it.
    whole: reconstruction of the whole network behind them, or None.
    """

    sites: Mapping[str, Site]
    operations: tuple[PlannedOperation, ...]
    alignments: tuple[PlannedAlignment, ...]
    taps: tuple[PlannedTap, ...]
    parameters: Mapping[str, int]
    image_size: tuple[int, int]
    batch_norm: Literal["frozen", "live"]
    backbone: tuple[str, ...]
    notes: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    unsupported: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    equalized: tuple[Chain, ...] = ()
    smoothed: tuple[Chain, ...] = ()
    corrections: tuple[PlannedCorrection, ...] = ()
    blocks: tuple[BlockFacts, ...] = ()
    whole: WholeSpec | None = None

    @property
    def quantizers(self) -> dict[str, Site]:
        """Fake quantizer name to the first site that uses it."""
        found: dict[str, Site] = {}
        for site in self.sites.values():
            if site.quantizer is not None:
                found.setdefault(site.quantizer, site)
        return found

    @property
    def chosen(self) -> dict[str, QuantizerSpec | None]:
        """The quantizers that no recipe decided, by site."""
        return {name: site.spec for name, site in self.sites.items() if site.reason == CHOSEN}

    def bits(self, site: str) -> int:
        """Bits of a site's operand; 32 where it is real-valued or no site."""
        spec = self.sites[site].spec if site in self.sites else None
        return spec.bits if spec is not None else 32
