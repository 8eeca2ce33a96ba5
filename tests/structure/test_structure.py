"""A structure is data of its own: it holds no node, changes none, and finds them again in a copy."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch

from qrecipe.graph.points import TapPoint, viewed
from qrecipe.graph.shapes import shape_of
from qrecipe.structure import Structure, analyse
from qrecipe.structure.operands import SITES, operand_at
from qrecipe.structure.operations import find_operations
from qrecipe.vocabulary import FEATURE
from tests.specimens import Specimen
from tests.toys import ToyDetector, captured_toy, marked


def test_analysing_changes_nothing(specimen: Specimen) -> None:
    captured = specimen.captured
    before = {mode: (str(program.graph), str(program.taps)) for mode, program in captured.programs.items()}
    structure = analyse(captured)
    assert {mode: (str(program.graph), str(program.taps)) for mode, program in captured.programs.items()} == before
    assert not any(SITES in node.meta for program in captured.programs.values() for node in program.graph.nodes)
    assert structure == analyse(captured)


def test_it_is_data(specimen: Specimen) -> None:
    structure = analyse(specimen.captured)
    structure.once("counted", lambda: 1)
    assert pickle.loads(pickle.dumps(structure)) == structure
    with pytest.raises(dataclasses.FrozenInstanceError):
        structure.sites = {}  # type: ignore[misc]


def test_sites_and_operations_are_those_that_are_found(specimen: Specimen) -> None:
    captured = specimen.captured
    structure, operations = analyse(captured), find_operations(captured)
    for mode, program in structure.programs.items():
        assert [one.name for one in program.operations] == [one.name for one in operations[mode]]
        assert program.nodes == len(captured.programs[mode].graph.nodes)
        for facts, operation in zip(program.operations, operations[mode], strict=True):
            assert (facts.address.module, facts.address.operator) == (operation.module, operation.operator)
            for slot, site in facts.sites:
                source = operand_at(operation.node, slot)
                if structure.sites[site].operation == facts.name and structure.sites[site].mode == mode:
                    assert structure.sites[site].tensor == ("" if source is None else source.name)
    assert set(structure.sites) == {
        site for p in structure.programs.values() for o in p.operations for _, site in o.sites
    }
    assert sum(structure.parameters.values()) == sum(parameter.numel() for parameter in specimen.model.parameters())


def test_marks_are_found_in_a_copy(specimen: Specimen) -> None:
    copied, structure = marked(specimen.captured)
    for mode, program in copied.programs.items():
        facts, names = structure.programs[mode], {node.name: node for node in program.graph.nodes}
        noted = {node.name: node.meta[SITES] for node in program.graph.nodes if SITES in node.meta}
        assert noted == {operation.node: dict(operation.sites) for operation in facts.operations}
        for key, tap in program.taps.items():
            assert tap.node is names[facts.taps[key].node]
        for layer, query in program.queries.items():
            assert all(operand_at(user, slot) is query.node for user, slot in query.users)
            assert [user.name for user, _ in query.users] == [name for name, _ in facts.queries[layer].users]
    assert not any(program.taps for program in specimen.captured.programs.values())


def test_an_attention_s_operations_attend(toy: Specimen) -> None:
    structure = analyse(toy.captured)
    attends = {one.address.module for one in structure.programs["eval"].operations if one.attends}
    assert {path.rpartition(".")[0] for path in attends if path.endswith("_proj")} == {
        "layers.0.cross_attention",
        "layers.1.cross_attention",
    }
    assert not any(path.startswith(("backbone", "class_head")) for path in attends)


def test_what_is_asked_again_is_made_once(toy: Specimen) -> None:
    structure: Structure = analyse(toy.captured)
    made = []
    for _ in range(3):
        structure.once("something", lambda: made.append(1))
    assert made == [1]
    assert structure.addresses is structure.addresses


@pytest.mark.parametrize("eager", [False, True])
def test_views_of_a_tap(eager: bool) -> None:
    """The shape that a plan reads is that of the value which a pass computes."""
    copied, structure = marked(captured_toy(ToyDetector(eager=eager)))
    program = copied.programs["eval"]
    node = program.taps[FEATURE, 0].node
    point = TapPoint(node, (("transpose", 0, 1), ("flatten", 1, 2)))
    expected = torch.empty(3, 4, 8).transpose(0, 1).flatten(1, 2).shape
    assert viewed((3, 4, 8), point.views) == tuple(expected) == (4, 24)
    value = point.compute(program.graph)
    assert [value.target, value.args[1:]] == [torch.ops.aten.flatten.using_ints, (1, 2)]
    assert value.args[0].target is torch.ops.aten.transpose.int
    assert value.args[0].args == (node, 0, 1)
    assert structure.programs["eval"].taps[FEATURE, 0].shape == shape_of(node)
