"""What a plan costs: bytes, multiply-accumulates, operations in the paper's sense, bit operations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..graph.shapes import Extent
from ..structure import Structure
from .plan import Plan, PlannedOperation, Product, Site


@dataclass(frozen=True)
class Cost:
    """Costs of one image at the plan's size.

    parameters: number of them. bytes: weights packed at their bits, one float32 per scale, offset and channel of an
        added bias, the rest float32.
    macs: multiply-accumulates of convolutions, linear layers and attention products.
    operations: macs, each charged b/32 with b the wider operand's bits (how the paper counts, facts in docs/method.md).
    bit_operations: macs x left bits x right bits.
    """

    parameters: int
    bytes: int
    float_bytes: int
    macs: int
    operations: float
    bit_operations: int

    def __add__(self, other: Cost) -> Cost:
        mine, theirs = self.to_dict(), other.to_dict()
        return Cost(**{key: mine[key] + theirs[key] for key in mine})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def cost_of(plan: Plan, operations: Iterable[PlannedOperation] | None = None) -> Cost:
    """The cost of a plan, or of some of its operations (bytes are always the whole plan's)."""
    chosen = plan.operations if operations is None else operations
    return cost_of_parts(plan, chosen, plan.parameters, plan.quantizers.values())


def cost_of_parts(
    plan: Plan, operations: Iterable[PlannedOperation], parameters: Iterable[str], quantizers: Iterable[Site]
) -> Cost:
    """The cost of some operations, some parameters and the scales of some quantizers (each by its first site)."""
    products = [product for operation in operations for product in operation.products]
    counts = {name: plan.parameters[name] for name in parameters}
    added = {one.site: one.channels for one in plan.corrections if one.added}
    ranges = sum(bytes_of_quantizer(site, added) for site in quantizers)
    packed = sum(_packed(plan, name, count) for name, count in counts.items())
    return Cost(
        parameters=sum(counts.values()),
        bytes=packed + ranges,
        float_bytes=4 * sum(counts.values()),
        macs=sum(product.macs for product in products),
        operations=sum(p.macs * max(plan.bits(p.left), plan.bits(p.right)) / 32 for p in products),
        bit_operations=sum(p.macs * plan.bits(p.left) * plan.bits(p.right) for p in products),
    )


def bytes_of_quantizer(site: Site, added: Mapping[str, int]) -> int:
    """Of a quantizer's scales and offsets, by its first site, and of the bias that its weight adds to a layer.

    Args:
        added: channels of added biases, by site.
    """
    scales = site.size * (1 if site.spec is None or site.spec.offset == "none" else 2)
    return 4 * (scales + added.get(site.name, 0))


def _packed(plan: Plan, parameter: str, count: int) -> int:
    return -(-count * plan.bits(parameter) // 8)


def operations_at(structure: Structure, height: int, width: int) -> tuple[PlannedOperation, ...]:
    """The evaluation program's operations with their multiply-accumulates for one image of a size. Counted once."""
    return structure.once(("operations at", height, width), lambda: tuple(_operations(structure, height, width)))


def _operations(structure: Structure, height: int, width: int) -> Iterator[PlannedOperation]:
    program = structure.programs["eval"]
    sizes: dict[Extent, int] = {}

    def count(factors: Iterable[Extent]) -> int:
        for extent in factors:
            if extent not in sizes:
                (sizes[extent],) = program.symbols.at((extent,), 1, height, width)
        return math.prod(sizes[extent] for extent in factors)

    for operation in program.operations:
        products = tuple(Product(count(one.factors), one.left, one.right) for one in operation.products)
        address = operation.address
        yield PlannedOperation(operation.name, address.module, address.operator, address.role, products)
