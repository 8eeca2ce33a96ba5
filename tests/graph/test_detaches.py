"""Gradients past detaches: the values stay, the gradients are those of the same function without them."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from qrecipe.graph.detaches import pass_detaches
from qrecipe.graph.program import function_of

aten = torch.ops.aten


Build = Callable[[fx.Graph, fx.Node], fx.Node]


def graph_of(build: Build) -> fx.Graph:
    graph = fx.Graph()
    graph.output(build(graph, graph.placeholder("x")))
    return graph


def run(graph: fx.Graph) -> tuple[Tensor, Tensor]:
    x = torch.tensor([1.3, -3.4], requires_grad=True)
    value = function_of(graph, "test")(torch.nn.Module(), x)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def detached_product(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """(2 x).detach() * x"""
    twice = graph.call_function(aten.mul.Tensor, (x, 2.0))
    return graph.call_function(aten.mul.Tensor, (graph.call_function(aten.detach.default, (twice,)), x))


def test_the_gradient_goes_on() -> None:
    graph = graph_of(detached_product)
    value, slope = run(graph)
    assert torch.allclose(slope, torch.tensor([2.6, -6.8]))
    assert pass_detaches(graph) == 1
    again, slope = run(graph)
    assert torch.equal(again, value)
    assert torch.allclose(slope, torch.tensor([5.2, -13.6]))


def straight_through(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """x + (round(x) - x).detach()"""
    error = graph.call_function(aten.sub.Tensor, (graph.call_function(aten.round.default, (x,)), x))
    return graph.call_function(aten.add.Tensor, (x, graph.call_function(aten.detach.default, (error,))))


def straight_through_by_two(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """round(x).detach() + (x - x.detach())"""
    rounded = graph.call_function(aten.detach.default, (graph.call_function(aten.round.default, (x,)),))
    nothing = graph.call_function(aten.sub.Tensor, (x, graph.call_function(aten.detach.default, (x,))))
    return graph.call_function(aten.add.Tensor, (rounded, nothing))


def written_through_a_view(graph: fx.Graph, x: fx.Node) -> fx.Node:
    stopped = graph.call_function(aten.detach.default, (graph.call_function(aten.mul.Tensor, (x, 2.0)),))
    view = graph.call_function(aten.view.default, (stopped, [-1]))
    graph.call_function(aten.mul_.Tensor, (view, 2.0))
    return graph.call_function(aten.mul.Tensor, (stopped, x))


def written_through_a_part(graph: fx.Graph, x: fx.Node) -> fx.Node:
    stopped = graph.call_function(aten.detach.default, (graph.call_function(aten.mul.Tensor, (x, 2.0)),))
    parts = graph.call_function(aten.split.Tensor, (stopped, 1))
    graph.call_function(aten.mul_.Tensor, (graph.call_function(operator.getitem, (parts, 0)), 2.0))
    return graph.call_function(aten.mul.Tensor, (stopped, x))


def source_is_written(graph: fx.Graph, x: fx.Node) -> fx.Node:
    twice = graph.call_function(aten.mul.Tensor, (x, 2.0))
    stopped = graph.call_function(aten.detach.default, (twice,))
    square = graph.call_function(aten.mul.Tensor, (stopped, stopped))
    more = graph.call_function(aten.add_.Tensor, (twice, 1.0))
    return graph.call_function(aten.add.Tensor, (square, more))


@pytest.mark.parametrize(
    "build",
    [straight_through, straight_through_by_two, written_through_a_view, written_through_a_part, source_is_written],
)
def test_what_a_detach_is_needed_for_stays_as_it_is(build: Build) -> None:
    graph = graph_of(build)
    before = run(graph)
    pass_detaches(graph)
    assert all(torch.equal(a, b) for a, b in zip(run(graph), before, strict=True))
