"""A graph cut into blocks computes what the whole one computes."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx

from qrecipe.reconstruct.segments import cut
from qrecipe.structure.operands import WEIGHTED
from qrecipe.student import calibrate
from qrecipe.student.calibrate import inputs_of
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe


class _Kept(fx.Interpreter):
    """The whole graph node by node, with every value kept by its node's name."""

    def __init__(self, root: torch.nn.Module, graph: fx.Graph) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.values[n.name] = (
            value.clone() if isinstance(value, torch.Tensor) else value
        )  # later calls may write into it
        return value


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple | list):
        return all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def test_the_plan_names_the_blocks_of_the_student(specimen: Specimen) -> None:
    """A plan knows the model before it is rewritten: with its norms, without fake quantizers and corrections."""
    quantize = {**W4A4, "correct_biases": True, "reconstruct": {"iterations": 0}}
    student = specimen.student(a_recipe(quantize, align=ALIGN, targets=TARGETS))
    own = [(segment.block.name, segment.block.weighted) for segment in cut(student.deployable().graph)]
    assert own == [(block.name, len(block.operations)) for block in student.plan.blocks]
    names = [name for block in student.plan.blocks for name in block.operations]
    operations = [operation for operation in student.plan.operations if operation.operator in WEIGHTED]
    assert names == [operation.name for operation in operations]


@torch.no_grad()
def test_blocks_one_after_the_other_are_the_graph(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(quantize=W4A4)).eval()
    batch = specimen.batch((2, 1))
    calibrate(student, [batch])
    graph = student.deployable().graph
    inputs = inputs_of(student, batch)
    whole = _Kept(student, graph)
    whole.run(*[inputs[str(node.target)] for node in graph.nodes if node.op == "placeholder"])
    values: dict[str, Any] = dict(inputs)
    segments = cut(graph)
    for segment in segments:
        read = {name: copy.deepcopy(values[name]) for name in segment.reads}
        written = segment.run(student, values)
        assert all(same(values[name], value) for name, value in read.items())  # it writes into nothing that it reads
        for name in segment.last:
            del values[name]
        for name, value in written.items():
            assert same(value, whole.values[name]), (segment.block.name, name)
        values.update(written)
    assert len(segments) > 3
    needed = {source.name for node in graph.nodes if node.op == "output" for source in node.all_input_nodes}
    assert set(values) <= {*whole.values, *inputs}
    assert needed & set(values)
