"""Blocks: together the whole graph, in its order, cut where networks have their joints."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from qrecipe.structure.blocks import LARGEST, find_blocks, is_residual, is_weighted
from tests.specimens import Specimen


def test_blocks_hold_every_call_once_and_in_order(specimen: Specimen) -> None:
    graph = specimen.captured.programs["eval"].graph
    blocks = find_blocks(graph)
    calls = [node for node in graph.nodes if node.op in ("call_function", "call_module")]
    assert [node for block in blocks for node in block.nodes] == calls
    assert sum(block.weighted for block in blocks) == sum(map(is_weighted, calls))
    assert len({block.name for block in blocks}) == len(blocks)
    assert max(block.weighted for block in blocks) <= LARGEST


def test_the_demo_has_residual_blocks_layers_and_heads(demo: Specimen) -> None:
    weighted = {block.name: block.weighted for block in find_blocks(demo.captured.programs["eval"].graph)}
    assert weighted["backbone.stem.conv"] == 1
    assert weighted["backbone.stage1.1"] == 2  # a residual block
    assert weighted["encoder.0"] == 6  # query, key, value, output; two of a feed-forward network
    assert weighted["decoder.0"] == 10
    assert weighted["box_heads.0"] == 3  # layers side by side


def test_a_block_whose_shortcut_is_a_convolution_is_one(detr: Specimen) -> None:
    weighted = {block.name: block.weighted for block in find_blocks(detr.captured.programs["eval"].graph)}
    stage = "model.backbone.model.encoder.stages.{}.layers.0"
    assert weighted[stage.format(0)] == 2  # as many channels as before: an identity
    assert [weighted[stage.format(number)] for number in (1, 2, 3)] == [3, 3, 3]
    assert weighted["model.input_projection"] == 1  # it reads the last stage and is no part of it


@pytest.mark.parametrize(
    ("case", "expected"),
    [("branches", True), ("quantized branches", True), ("twice", False), ("shared weight", False), ("outside", False)],
)
def test_which_sums_of_two_branches_are_skips(case: str, expected: bool) -> None:
    """Their summands are computed by the module of the sum, from a value that is no parameter."""
    graph = fx.Graph()

    def named(node: fx.Node, module: str) -> fx.Node:
        node.meta.update(module=module, val=torch.zeros(1, 8, 6, 5))
        return node

    x, y = (named(graph.placeholder(name), "") for name in "xy")
    weight = named(graph.get_attr("weight"), "block")
    where = "elsewhere" if case == "outside" else "block.branch"
    other = y if case == "shared weight" else x
    conv = torch.ops.aten.conv2d.default
    a = named(graph.call_function(conv, (x, weight)), where)
    b = named(graph.call_function(conv, (other, weight)), where)
    if case == "quantized branches":
        a = graph.call_module("quantizers.0", (a,))
        a.meta["val"] = torch.zeros(1, 8, 6, 5)
    total = named(graph.call_function(torch.ops.aten.add.Tensor, (a, a if case == "twice" else b)), "block")
    assert is_residual(total) is expected


def test_a_module_that_is_called_again_is_a_block_of_its_own(demo: Specimen) -> None:
    names = [block.name for block in find_blocks(demo.captured.programs["eval"].graph)]
    assert names.index("query_position") < names.index("decoder.0") < names.index("query_position@1")


def test_a_choice_among_places_ends_a_block(demo: Specimen) -> None:
    graph = demo.captured.programs["eval"].graph
    for block in find_blocks(graph):
        chosen = [node for node in block.nodes if "topk" in str(node.target)]
        assert not chosen or block.nodes[-1] is chosen[-1]
