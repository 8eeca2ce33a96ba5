"""Writes einsum's products of two tensors as matmul, so that their operands can be quantized and attention is seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ...graph.calls import call_like
from ...graph.shapes import shape_of

aten = torch.ops.aten


def unfold_products(graph: fx.Graph) -> int:
    """Rewrite every ``einsum`` that is one matrix product for each index of a batch; returns how many.

    ``bqhd,bkhd->bhqk`` is one: b and h are in all three, q and k in one operand each, d is summed over. Others, with an
    ellipsis, a diagonal, or several indices where a matrix has one, are left: a plan names them.
    """
    done = 0
    for node in list(graph.nodes):
        if node.target is aten.einsum.default and (parts := _product(node)) is not None:
            _unfold(graph, node, *parts)
            done += 1
    return done


def _product(node: fx.Node) -> tuple[list[int], list[int], list[int]] | None:
    """How to permute left, right and result; None where it is no such product."""
    equation, operands = node.args[0], node.args[1]
    if not isinstance(equation, str) or not isinstance(operands, list | tuple) or len(operands) != 2:
        return None
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    names = inputs.split(",")
    if not arrow or "." in equation or len(names) != 2 or any(len(set(one)) != len(one) for one in (*names, result)):
        return None
    left, right = names
    batch = [name for name in result if name in left and name in right]
    summed = [name for name in left if name in right and name not in result]
    rows = [name for name in left if name not in right]
    columns = [name for name in right if name not in left]
    if [len(one) for one in (summed, rows, columns)] != [1, 1, 1] or {*batch, *rows, *columns} != set(result):
        return None
    shapes = [shape_of(operand) for operand in operands]
    sizes = [dict(zip(own, shape or (), strict=False)) for own, shape in zip(names, shapes, strict=True)]
    if any(sizes[0].get(name) != sizes[1].get(name) for name in (*batch, *summed)):
        return None  # an extent of 1 that stands for any
    made = [*batch, *rows, *columns]
    return (
        [left.index(name) for name in (*batch, *rows, *summed)],
        [right.index(name) for name in (*batch, *summed, *columns)],
        [made.index(name) for name in result],
    )


def _unfold(graph: fx.Graph, node: fx.Node, left: list[int], right: list[int], result: list[int]) -> None:
    operands: Any = node.args[1]
    with graph.inserting_before(node):
        turned = [
            _permuted(graph, node, operand, order) for operand, order in zip(operands, (left, right), strict=True)
        ]
        product = call_like(graph, node, aten.matmul.default, tuple(turned))
        product = _permuted(graph, node, product, result)
    node.replace_all_uses_with(product)
    graph.erase_node(node)


def _permuted(graph: fx.Graph, like: fx.Node, value: fx.Node, order: list[int]) -> fx.Node:
    if order == sorted(order):
        return value
    return call_like(graph, like, aten.permute.default, (value, order))
