"""Calls in place that are replaced by others give the same, and only where nobody could tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx

from qrecipe.graph.in_place import base_of, write_elsewhere
from qrecipe.graph.program import function_of, mutates

aten = torch.ops.aten


def graph_of(*calls: tuple[Any, ...]) -> fx.Graph:
    """x, y and then calls: an operation and its operands, nodes by their number. The last one is the output."""
    graph = fx.Graph()
    made = [graph.placeholder("x"), graph.placeholder("y")]
    for target, *operands in calls:
        made.append(graph.call_function(target, tuple(made[one] if type(one) is int else one for one in operands)))
    graph.output(made[-1])
    return graph


def ran(graph: fx.Graph, x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = function_of(graph, "test")(None, x.clone(), y.clone())
    return found


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "calls", [[(aten.neg.default, 0), (aten.add_.Tensor, 2, 1)], [(aten.exp.default, 0), (aten.relu_.default, 2)]]
)
def test_a_value_that_nobody_else_reads_is_written_elsewhere(calls: list[tuple[Any, ...]], kind: torch.dtype) -> None:
    """In the type of what was written into, also where the other operand's is wider."""
    graph, x, y = graph_of(*calls), torch.randn(3, 4).to(kind), torch.randn(3, 4)
    expected = ran(graph, x, y)
    write_elsewhere(graph)
    assert not any(map(mutates, graph.nodes))
    found = ran(graph, x, y)
    assert found.dtype == expected.dtype == kind
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "calls",
    [
        [(aten.add_.Tensor, 0, 1)],  # an input
        [(aten.neg.default, 0), (aten.add_.Tensor, 2, 1), (aten.mul.Tensor, 2, 3)],  # it is read again
        [(aten.neg.default, 0), (aten.view.default, 2, [-1]), (aten.mul_.Scalar, 3, 2.0), (aten.add.Tensor, 2, 1)],
    ],
)
def test_a_value_that_others_see_is_written_into(calls: list[tuple[Any, ...]]) -> None:
    graph = graph_of(*calls)
    write_elsewhere(graph)
    assert sum(map(mutates, graph.nodes)) == 1


def test_the_memory_of_views_is_traced() -> None:
    graph = graph_of(
        (aten.neg.default, 0), (aten.view.default, 2, [-1]), (aten.mul_.Scalar, 3, 2.0), (aten.add.Tensor, 4, 1)
    )
    nodes = list(graph.nodes)
    assert [base_of(node) for node in nodes[2:6]] == [nodes[2], nodes[2], nodes[2], nodes[5]]
