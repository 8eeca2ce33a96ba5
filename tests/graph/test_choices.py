"""Choices among places, said by one model and told to another: by what the queries then are, against plain torch."""

from __future__ import annotations

from operator import getitem
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from qrecipe.errors import TrainError
from qrecipe.graph.choices import Choice, said, tell_choices, told

aten = torch.ops.aten


def chooser(operation: Any, *operands: Any, reads: int = 1, times: int = 1) -> Any:
    """A graph that gathers, ``times`` times, rows of its second input by what it chooses from its first; a function."""
    graph = fx.Graph()
    scores, rows = graph.placeholder("scores"), graph.placeholder("rows")
    results = []
    for _ in range(times):
        chosen = graph.call_function(operation, (scores, *operands))
        results.append(graph.call_function(torch.Tensor.add, (chosen_part(graph, chosen, reads), rows)))
    graph.output(tuple(results))
    found = tell_choices(graph)
    assert found == (times if reads == 1 else 0)
    return fx.GraphModule(torch.nn.Module(), graph)


def chosen_part(graph: fx.Graph, chosen: fx.Node, part: int) -> fx.Node:
    return graph.call_function(getitem, (chosen, part))


SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.8, 0.2, 0.3, 0.4]])
OTHER = torch.tensor([[0.9, 0.1, 0.7, 0.2], [0.1, 0.2, 0.8, 0.9]])
NOTHING = torch.zeros(())


def indices(found: tuple[Tensor, ...]) -> list[list[list[int]]]:
    return [index.tolist() for index in found]


@pytest.mark.parametrize(
    ("operation", "operands"),
    [(aten.topk.default, (2,)), (aten.topk.default, (2, 1)), (aten.sort.default, ()), (aten.sort.default, (1, True))],
)
def test_what_one_says_the_other_chooses(operation: Any, operands: tuple[Any, ...]) -> None:
    model = chooser(operation, *operands)
    with said() as heard:
        his = model(SCORES, NOTHING)
    assert [(choice.indices.tolist(), choice.places) for choice in heard] == [(indices(his)[0], 4)]
    assert torch.equal(his[0], operation(SCORES, *operands)[1])
    with told(heard):
        mine = model(OTHER, NOTHING)
    assert indices(mine) == indices(his)
    assert torch.equal(model(OTHER, NOTHING)[0], operation(OTHER, *operands)[1])  # its own again
    assert indices(mine) != indices(model(OTHER, NOTHING))


@pytest.mark.parametrize(
    ("operation", "operands", "options"),
    [
        (aten.argsort.default, (1, True), {}),
        (aten.argsort.stable, (), {"stable": True, "dim": 1, "descending": True}),
        (aten.sort.stable, (), {"stable": True, "descending": True}),
    ],
)
def test_the_other_ways_to_choose(operation: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> None:
    graph = fx.Graph()
    chosen = graph.call_function(operation, (graph.placeholder("scores"), *operands), options)
    index = chosen_part(graph, chosen, 1) if operation is aten.sort.stable else chosen
    graph.output(graph.call_function(torch.neg, (index,)))
    assert tell_choices(graph) == 1
    model = fx.GraphModule(torch.nn.Module(), graph)
    with said() as heard:
        his = model(SCORES)
    assert torch.equal(-his, SCORES.argsort(descending=True))
    with told(heard):
        assert torch.equal(model(OTHER), his)
    assert torch.equal(-model(OTHER), OTHER.argsort(descending=True))


def test_the_values_are_those_of_what_was_told() -> None:
    graph = fx.Graph()
    chosen = graph.call_function(aten.topk.default, (graph.placeholder("scores"), 2))
    graph.output((chosen_part(graph, chosen, 0), graph.call_function(torch.neg, (chosen_part(graph, chosen, 1),))))
    assert tell_choices(graph) == 1
    model = fx.GraphModule(torch.nn.Module(), graph)
    scores = OTHER.clone().requires_grad_()
    with told([Choice(torch.tensor([[1, 3], [0, 3]]), 4)]):
        values, index = model(scores)
    assert values.tolist() == [[OTHER[0, 1], OTHER[0, 3]], [OTHER[1, 0], OTHER[1, 3]]]
    assert index.tolist() == [[-1, -3], [0, -3]]
    values.sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0, 1, 0, 1], [1, 0, 0, 1]]


def test_a_choice_whose_indices_nothing_reads_is_no_choice_of_queries() -> None:
    model = chooser(aten.topk.default, 2, reads=0)
    with said() as heard:
        model(SCORES, NOTHING)
    assert heard == []


def test_what_a_model_chooses_beyond_is_its_own() -> None:
    """As the further groups of queries that LW-DETR trains with."""
    model = chooser(aten.topk.default, 2, times=2)
    first = torch.tensor([[3, 2], [1, 0]])
    with told([Choice(first, 4)]):
        found = model(SCORES, NOTHING)
    assert torch.equal(found[0], first)
    assert torch.equal(found[1], SCORES.topk(2).indices)


def test_fewer_choices_are_told_apart() -> None:
    model = chooser(aten.topk.default, 2)
    choices = [Choice(SCORES.topk(2).indices, 4)] * 2
    with (
        pytest.raises(TrainError, match="chooses its queries in 2 steps, the student in 1 step"),
        told(choices),
    ):
        model(SCORES, NOTHING)


def test_a_teacher_that_chooses_nothing_is_told_apart() -> None:
    model = chooser(aten.topk.default, 2)
    with pytest.raises(TrainError, match="chooses its queries in 0 steps, the student in 1 step"), told([]):
        model(SCORES, NOTHING)


@pytest.mark.parametrize(("count", "places"), [(3, 4), (2, 5)])
def test_other_numbers_of_queries_or_places_are_told_apart(count: int, places: int) -> None:
    model = chooser(aten.topk.default, 2)
    choice = Choice(SCORES.topk(count).indices, places)
    expected = f"the teacher chooses {count} of {places} places, the student 2 of 4 places"
    with pytest.raises(TrainError, match=expected), told([choice]):
        model(SCORES, NOTHING)
    assert torch.equal(model(SCORES, NOTHING)[0], SCORES.topk(2).indices)  # nothing is told any more


def test_listeners_around_one_another_hear_all() -> None:
    model = chooser(aten.topk.default, 2)
    with said() as outer:
        model(SCORES, NOTHING)
        with said() as inner:
            model(OTHER, NOTHING)
    assert torch.equal(outer[0].indices, SCORES.topk(2).indices)
    assert torch.equal(outer[1].indices, OTHER.topk(2).indices)
    assert len(outer) == 2
    assert len(inner) == 1
