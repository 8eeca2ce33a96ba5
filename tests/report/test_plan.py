"""The plan and the anatomy in a terminal: what stands in them, at 80 and at 120 columns."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import pytest
from rich.console import Console

from qrecipe.planning import Anatomy, Plan, anatomy, build_plan, describe
from qrecipe.report.amounts import amount, bits_text, size, tight
from qrecipe.report.anatomy import anatomy_tables, module_tree
from qrecipe.report.plan import BY, By, plan_tables
from qrecipe.structure import analyse
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import plan_of

RULES = [
    {"match": "role:backbone.stem", "keep": "float"},
    {"match": "role:backbone", "keep": "float"},
    {"match": "role:head", "weight": {"bits": 8}},
]


def planned(specimen: Specimen, **parts: Any) -> Plan:
    recipe = a_recipe({**W4A4, "rules": RULES}, **parts)
    return plan_of(specimen.captured, recipe, (64, 96))


def shown(parts: Any, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, _environ={})
    for part in parts:
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    return out.getvalue()


def rows(text: str) -> dict[str, list[str]]:
    return {cells[0]: cells[1:] for line in text.splitlines() if len(cells := line.split()) > 4}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("by", BY)
def test_it_fits(specimen: Specimen, by: By, width: int) -> None:
    text = shown(plan_tables(planned(specimen, align=ALIGN, targets=TARGETS), by, wide=width >= 100), width)
    words = ("warning", "  quantize", "  additions", "note")
    assert all(len(line.rstrip()) <= width for line in text.splitlines() if not line.startswith(words))
    assert "…" not in text
    assert "operations: multiply-accumulates (MACs) of one image, each counted as b/32" in text
    assert "bit operations: MACs of one image, each counted as the bits of its weight" in text


def test_what_is_reconstructed_stands_there(toy: Specimen) -> None:
    learned: dict[str, object] = {"iterations": 0, "whole": {"steps": 70}}
    plain, asked, alone = (
        plan_of(toy.captured, a_recipe({**W4A4, **more}), (64, 96))
        for more in ({}, {"reconstruct": learned}, {"reconstruct": {"iterations": None, "whole": {"steps": 2000}}})
    )
    assert not {"blocks", "whole"} & set(describe(plain))
    nothing = plan_of(toy.captured, a_recipe({"reconstruct": learned}), (64, 96))  # to learn
    assert not {"blocks", "whole"} & set(describe(nothing))
    assert "Reconstruction" not in shown(plan_tables(plain), 80)
    listed = describe(asked)["blocks"]
    assert [block["weighted"] for block in listed] == [len(block["operations"]) for block in listed]
    text = shown(plan_tables(asked), 80).partition("Reconstruction, block by block (operations with weights):\n")[2]
    lines = [line.split() for line in text.splitlines()[: len(listed)]]
    assert lines == [[block["name"], str(block["weighted"])] for block in listed]
    assert "Reconstruction of the whole network: about 70 steps, each on 4 of the first 1024 training images." in text
    assert describe(asked)["whole"]["steps"] == 70
    assert "blocks" not in describe(alone)
    assert describe(alone)["whole"] == {
        "steps": 2000,
        "images": 1024,
        "batch_size": 4,
        "lr": 3e-4,
        "lr_quantizer": 5e-3,
    }


@pytest.mark.parametrize("width", [80, 120])
def test_by_role(toy: Specimen, width: int) -> None:
    text = shown(plan_tables(planned(toy), wide=width >= 100), width)
    found = rows(text)
    assert found["backbone.stem"][:2] == ["real", "0/2"]
    assert found["decoder.cross_attention"][:2] == ["4-4-8", "24/24"]
    assert found["head.class"][:2] == ["8-4-.", "3/3"]
    assert found["in"][:2] == ["all", "30/34"]
    assert ("bit operations" if width > 100 else "bit ops") in text.splitlines()[1]
    assert "    backbone.stem" in text
    assert text.endswith(
        "warning: quantize.rules[0]: 'role:backbone.stem' decides nothing: "
        "wherever it applies, later rules set the same again: rules[1]\n"
    )


def test_by_module(toy: Specimen) -> None:
    text = shown(plan_tables(planned(toy), "module"), 120)
    assert "layers.0-1.cross_attention" in text
    assert "layers.0-1 " in shown(plan_tables(planned(toy), "module", depth=1), 120)


def test_by_rule(toy: Specimen) -> None:
    found = rows(shown(plan_tables(planned(toy), "rule"), 120).replace(": role", ":role"))
    assert found["quantize.rules[0]:role:backbone.stem"] == ["-", "0/1", "0/1", "."]
    assert found["quantize.rules[1]:role:backbone"] == ["real", "2/2", "2/2", "."]
    assert found["quantize.attention"] == [".-.-8", ".", ".", "8/8"]


def test_every_site(toy: Specimen) -> None:
    plan = planned(toy)
    lines = shown(plan_tables(plan, sites=True), 80).splitlines()
    assert all(any(line.startswith(f"{name} ") for line in lines) for name in plan.sites)


def described(specimen: Specimen, size: tuple[int, int]) -> Anatomy:
    structure = analyse(specimen.captured)
    return anatomy(specimen.captured.root, structure, build_plan(structure, a_recipe(), size))


def test_the_anatomy(specimen: Specimen) -> None:
    found = described(specimen, (64, 96))
    assert sum(role.parameters for role in found.roles) == found.parameters == found.tree.parameters
    assert sum(role.macs for role in found.roles) == found.macs == found.tree.macs
    assert found.nodes["train"] == len(specimen.captured.programs["train"].graph.nodes)
    text = shown(anatomy_tables(found), 80)
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert re.search(r"^decoder\.cross_attention\.output +0-1 +\d+ *$", text, re.MULTILINE)
    tree = shown([module_tree(found)], 120)
    assert "0-1 x2 " in tree
    assert "decoder.cross_attention" in tree


def test_a_tree_s_node_is_the_sum_of_those_below(detr: Specimen) -> None:
    found = described(detr, (64, 96))
    own = {
        name: sum(p.numel() for p in module.parameters(recurse=False)) for name, module in detr.model.named_modules()
    }

    def check(node: Any, path: str) -> None:
        below = sum(child.parameters for child in node.children)
        if path in own and node.count == 1:
            assert node.parameters == below + own[path]
        for child in node.children:
            check(child, f"{path}.{child.name}".lstrip("."))

    check(found.tree, "")
    (decoder,) = [child for child in found.tree.children[0].children if child.name == "decoder"]
    (layers,) = [child for child in decoder.children if child.name == "layers"]
    assert [(child.name, child.count) for child in layers.children] == [("0-1", 2)]


def test_a_model_without_decoder(toy: Specimen) -> None:
    structure = analyse(toy.captured)
    programs = {mode: dataclasses.replace(program, taps={}) for mode, program in structure.programs.items()}
    without = dataclasses.replace(structure, programs=programs)
    found = anatomy(toy.captured.root, without, build_plan(without, a_recipe(), (16, 24)))
    text = shown(anatomy_tables(found), 80)
    assert "Taps: none" in text
    assert "Queries: none" in text


def test_amounts() -> None:
    assert [amount(value) for value in (0, 7, 1234, 81.2e9)] == ["0", "7", "1.23 k", "81.2 G"]
    assert (tight(81.2e9), size(2.89e6), size(12)) == ("81.2G", "2.89 MB", "12 B")
    assert bits_text([4], [4, 4], [8]) == "4-4-8"
    assert bits_text([32], [32], []) == "real"
    assert bits_text([32, 4], [4], []) == "4/32-4-."
    assert bits_text([], [], []) == ".-.-."
