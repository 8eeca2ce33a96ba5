"""Gradients past detaches: the values stay, the gradients are those of the same function without them."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from qrecipe.graph.detaches import pass_detaches
from qrecipe.graph.program import function_of

aten = torch.ops.aten


def graph_of(written: bool) -> fx.Graph:
    """(2 x).detach() * x; or with a view of what is detached doubled in place."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    twice = graph.call_function(aten.mul.Tensor, (x, 2.0))
    stopped = graph.call_function(aten.detach.default, (twice,))
    if written:
        view = graph.call_function(aten.view.default, (stopped, [-1]))
        graph.call_function(aten.mul_.Tensor, (view, 2.0))
    graph.output(graph.call_function(aten.mul.Tensor, (stopped, x)))
    return graph


def run(graph: fx.Graph) -> tuple[Tensor, Tensor]:
    x = torch.tensor([1.0, -3.0], requires_grad=True)
    value = function_of(graph, "test")(torch.nn.Module(), x)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def test_the_gradient_goes_on() -> None:
    graph = graph_of(written=False)
    value, slope = run(graph)
    assert torch.equal(slope, torch.tensor([2.0, -6.0]))
    assert pass_detaches(graph) == 1
    again, slope = run(graph)
    assert torch.equal(again, value)
    assert torch.equal(slope, torch.tensor([4.0, -12.0]))


def test_what_is_written_into_stays_detached() -> None:
    graph = graph_of(written=True)
    value, slope = run(graph)
    assert torch.equal(slope, torch.tensor([4.0, -12.0]))
    assert pass_detaches(graph) == 0
    assert all(torch.equal(a, b) for a, b in zip(run(graph), (value, slope), strict=True))
