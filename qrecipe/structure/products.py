"""What an operation multiplies, as products of its tensors' extents: a count at any image size."""

from __future__ import annotations

from ..graph.shapes import Extent, shape_of
from .operands import PASSIVE
from .operations import Operation
from .structure import ProductFacts


def products_of(operation: Operation) -> tuple[ProductFacts, ...]:
    """The multiply-accumulates of one operation of the evaluation program; () where it multiplies nothing."""
    sites = {operand.name: operand.site for operand in operation.operands}
    node = operation.node

    def extents(value: object) -> tuple[Extent, ...]:
        return shape_of(value) or ()

    if operation.operator in ("linear", "conv"):
        factors = (*extents(node), *extents(node.args[1])[1:])
        return (ProductFacts(factors, sites["input"], sites["weight"]),)
    if operation.operator == "conv_transpose":
        factors = (*extents(node.args[0]), *extents(node.args[1])[1:])
        return (ProductFacts(factors, sites["input"], sites["weight"]),)
    if operation.operator == "attention":
        query, key, value = extents(node.args[0]), extents(node.args[1]), extents(node.args[2])
        scores = (*query[:-1], key[-2])
        return (
            ProductFacts((*scores, query[-1]), sites["query"], sites["key"]),
            ProductFacts((*scores, value[-1]), sites["probabilities"], sites["value"]),
        )
    if operation.operator in PASSIVE:
        return ()
    left, right = (operand.site for operand in operation.operands)
    if operation.operator == "matmul":
        slot = operation.operands[0].slot
        assert isinstance(slot, int)
        return (ProductFacts((*extents(node), extents(node.args[slot])[-1]), left, right),)
    return (ProductFacts(extents(node), left, right),)  # a weighted sum
