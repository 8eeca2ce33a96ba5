"""What a plan costs: bytes, multiply-accumulates, operations in the paper's sense, bit operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..graph.shapes import Extent, Symbols, shape_of
from ..structure.operations import Operation
from .plan import Plan, PlannedOperation, Product, Site


@dataclass(frozen=True)
class Cost:
    """Costs of one image at the plan's size.

    parameters: number of them. bytes: weights packed at their bits, one float32 per scale and offset, the rest float32.
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
    scales = sum(site.size * (1 if site.spec is None or site.spec.offset == "none" else 2) for site in quantizers)
    packed = sum(_packed(plan, name, count) for name, count in counts.items())
    return Cost(
        parameters=sum(counts.values()),
        bytes=packed + 4 * scales,
        float_bytes=4 * sum(counts.values()),
        macs=sum(product.macs for product in products),
        operations=sum(p.macs * max(plan.bits(p.left), plan.bits(p.right)) / 32 for p in products),
        bit_operations=sum(p.macs * plan.bits(p.left) * plan.bits(p.right) for p in products),
    )


def _packed(plan: Plan, parameter: str, count: int) -> int:
    return -(-count * plan.bits(parameter) // 8)


def products_of(operation: Operation, symbols: Symbols, height: int, width: int) -> tuple[Product, ...]:
    """The multiply-accumulates of one operation for one image."""
    sites = {operand.name: operand.site for operand in operation.operands}
    node = operation.node

    def extents(value: object) -> tuple[int, ...]:
        return symbols.at(shape_of(value) or (), 1, height, width)

    if operation.operator in ("linear", "conv"):
        weight = extents(node.args[1])
        return (Product(_count(extents(node)) * _count(weight[1:]), sites["input"], sites["weight"]),)
    if operation.operator == "conv_transpose":
        weight = extents(node.args[1])
        return (Product(_count(extents(node.args[0])) * _count(weight[1:]), sites["input"], sites["weight"]),)
    if operation.operator == "attention":
        query, key, value = extents(node.args[0]), extents(node.args[1]), extents(node.args[2])
        scores = _count(query[:-1]) * key[-2]
        return (
            Product(scores * query[-1], sites["query"], sites["key"]),
            Product(scores * value[-1], sites["probabilities"], sites["value"]),
        )
    left, right = (operand.site for operand in operation.operands[:2])
    if operation.operator == "matmul":
        slot = operation.operands[0].slot
        assert isinstance(slot, int)
        inner = extents(node.args[slot])[-1]
        return (Product(_count(extents(node)) * inner, left, right),)
    if operation.operator == "weighted_sum":
        return (Product(_count(extents(node)), left, right),)
    return ()


def _count(shape: Iterable[Extent]) -> int:
    total = 1
    for extent in shape:
        total *= int(extent)
    return total
