"""What planning must know of a captured model, as data: frozen, with nodes by their names, and free of any bits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ..graph.points import View
from ..graph.program import GraphMode
from ..graph.shapes import Extent, Symbols
from ..vocabulary import OperandKind
from .chains import Chain
from .operands import PASSIVE, Slot
from .roles import Roles

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """What a recipe's rules match an operation by: its module's path, its operator, its role."""

    module: str
    operator: str
    role: str


@dataclass(frozen=True)
class SiteFacts:
    """One operand of one operation (weights: of one parameter), in the first program that has it.

    name: the site's. operation: its first operation. operand: its name there; slot: where it stands.
    tensor: the node that it reads, by which sites of one program share a quantizer; "" where it has none yet.
    shape: of the operand, with symbols; text: the same for people; extents: as numbers, None for one that changes with
        the batch or the image.
    channel_axis: the dimension of a weight's output channels. heads: of an operand with a dimension of them, else 0.
    batched: whether dimension 0 holds the batch. aligned: whether an alignment of queries changes what it reads.
    """

    name: str
    operation: str
    address: Address
    operand: str
    slot: Slot
    kind: OperandKind
    mode: GraphMode
    tensor: str
    shape: tuple[Extent, ...]
    text: str
    extents: tuple[int | None, ...]
    channel_axis: int
    heads: int
    batched: bool
    aligned: bool

    @property
    def passive(self) -> bool:
        """Whether it belongs to an operation without multiplications, which only rules that name it quantize."""
        return self.address.operator in PASSIVE


@dataclass(frozen=True)
class ProductFacts:
    """Multiply-accumulates of one image: the product of ``factors``. left, right: the sites of the two operands."""

    factors: tuple[Extent, ...]
    left: str
    right: str


@dataclass(frozen=True)
class OperationFacts:
    """One operation of one program. ``name`` is the same in the other one where it exists there too.

    node: its name in the graph. sites: where each operand stands, and its site. attends: whether it belongs to an
    attention. products: what it multiplies, in the evaluation program. biased: whether it, or a BatchNorm that alone
    reads it, adds a bias of the model's own.
    """

    name: str
    address: Address
    node: str
    sites: tuple[tuple[Slot, str], ...]
    attends: bool
    products: tuple[ProductFacts, ...] = ()
    biased: bool = False


@dataclass(frozen=True)
class QueryFacts:
    """A decoder layer's cross-attention query: its node, and the nodes and slots that read it as the query.

    sites: of these slots. layout: ``bhld`` (batch, heads, queries, head_dim) or ``bld`` (batch, queries, channels).
    others: the sites of further queries of the same attention, which are not aligned.
    """

    node: str
    users: tuple[tuple[str, int], ...]
    sites: tuple[str, ...]
    layout: Literal["bhld", "bld"]
    heads: int
    head_dim: int
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class TapFacts:
    """A value that can be tapped: a node, and how it is viewed from there. shape: of the tapped value."""

    node: str
    views: tuple[View, ...]
    shape: tuple[Extent, ...]


@dataclass(frozen=True)
class ProgramFacts:
    """One of the two programs. operations: in the graph's order. queries: by decoder layer. taps: by role and layer,
    those of feature maps by role and level.

    symbols: of the input's batch, height and width. nodes: how many the graph has.
    """

    operations: tuple[OperationFacts, ...]
    queries: Mapping[int, QueryFacts]
    taps: Mapping[tuple[str, int], TapFacts]
    symbols: Symbols
    nodes: int


@dataclass(frozen=True)
class BlockFacts:
    """What a reconstruction optimises at once, in the evaluation program: its name, and its operations with weights."""

    name: str
    operations: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """A captured model, analysed once. Nothing in it depends on bits, and nothing refers to the graphs themselves.

    sites: by name, those of the training program first. roles: of its parts.
    parameters: elements by first name, a fused one part by part. canonical: every parameter's name to its first.
    unsupported: operations of the evaluation program that no recipe quantizes, by operator: how many.
    chains: where channels can be scaled without a change of what the model computes.
    blocks: of the evaluation program, up to the last one with a weighted operation.
    multiplied: parameters that products read, and that are activations to a recipe: its weights are those of layers.
    """

    programs: Mapping[GraphMode, ProgramFacts]
    sites: Mapping[str, SiteFacts]
    roles: Roles
    parameters: Mapping[str, int]
    canonical: Mapping[str, str]
    unsupported: Mapping[str, int]
    chains: tuple[Chain, ...] = ()
    blocks: tuple[BlockFacts, ...] = ()
    multiplied: tuple[str, ...] = ()
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Those of all operations, each once, in the graphs' order."""
        operations = (operation for program in self.programs.values() for operation in program.operations)
        return self.once("addresses", lambda: tuple(dict.fromkeys(operation.address for operation in operations)))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is derived from a structure and asked for again with every plan: made on first use, then kept."""
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found
