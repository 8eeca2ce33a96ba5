"""Gradients past detaches: the values stay, the gradients are those of the same function without them."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from qrecipe.graph.detaches import pass_detaches
from qrecipe.graph.program import function_of
from tests.specimens import W4A4, Specimen, a_recipe

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


def add(graph: fx.Graph, a: fx.Node, b: fx.Node) -> fx.Node:
    return graph.call_function(aten.add.Tensor, (a, b))


def sub(graph: fx.Graph, a: fx.Node, b: fx.Node) -> fx.Node:
    return graph.call_function(aten.sub.Tensor, (a, b))


def detach(graph: fx.Graph, x: fx.Node) -> fx.Node:
    return graph.call_function(aten.detach.default, (x,))


def rounded(graph: fx.Graph, x: fx.Node) -> fx.Node:
    return graph.call_function(aten.round.default, (x,))


def times(graph: fx.Graph, x: fx.Node, number: float) -> fx.Node:
    return graph.call_function(aten.mul.Tensor, (x, number))


def hard(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """As torch's gumbel_softmax has it: hard - soft.detach() + soft"""
    soft = graph.call_function(aten.softmax.int, (x, 0))
    return times(graph, add(graph, sub(graph, rounded(graph, soft), detach(graph, soft)), soft), 3.0)


ESTIMATORS: dict[str, Build] = {
    "x + (round(x) - x).detach()": lambda g, x: add(g, x, detach(g, sub(g, rounded(g, x), x))),
    "round(x).detach() + (x - x.detach())": lambda g, x: add(g, detach(g, rounded(g, x)), sub(g, x, detach(g, x))),
    "round(x).detach() - x.detach() + x": lambda g, x: add(g, sub(g, detach(g, rounded(g, x)), detach(g, x)), x),
    "x + 0.5 (round(x) - x).detach()": lambda g, x: add(g, x, times(g, detach(g, sub(g, rounded(g, x), x)), 0.5)),
    "0.9 x.detach() + 0.1 x": lambda g, x: add(g, times(g, detach(g, x), 0.9), times(g, x, 0.1)),
    "gumbel": hard,
}


def a_later_state(graph: fx.Graph, x: fx.Node) -> fx.Node:
    """A state and the detached one of before, as between D-FINE's layers: no estimator."""
    before = detach(graph, graph.call_function(aten.tanh.default, (x,)))
    return add(graph, graph.call_function(aten.exp.default, (before,)), before)


def test_a_sum_with_what_comes_later_is_no_estimator() -> None:
    graph = graph_of(a_later_state)
    assert torch.equal(run_constant(graph), torch.zeros(2))
    assert pass_detaches(graph) == 1
    assert (run(graph)[1] != 0).all()


def run_constant(graph: fx.Graph) -> Tensor:
    """The slope where nothing has one: x is added in front."""
    x = torch.tensor([1.3, -3.4], requires_grad=True)
    value = function_of(graph, "test")(torch.nn.Module(), x)
    return torch.autograd.grad((value + 0 * x).sum(), x)[0]


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
    [*ESTIMATORS.values(), written_through_a_view, written_through_a_part, source_is_written],
    ids=[*ESTIMATORS, "written through a view", "written through a part", "source written"],
)
def test_what_a_detach_is_needed_for_stays_as_it_is(build: Build) -> None:
    graph = graph_of(build)
    before = run(graph)
    pass_detaches(graph)
    assert all(torch.equal(a, b) for a, b in zip(run(graph), before, strict=True))


@pytest.mark.parametrize(("name", "count"), [("demo", 3), ("detr", 0), ("deimv2", 5)])
def test_all_of_a_detector_s_go(name: str, count: int, request: pytest.FixtureRequest) -> None:
    specimen: Specimen = request.getfixturevalue(name)
    graph = specimen.student(a_recipe(quantize=W4A4)).deployable().graph
    assert pass_detaches(graph) == count
    assert not [node for node in graph.nodes if node.target is aten.detach.default]
