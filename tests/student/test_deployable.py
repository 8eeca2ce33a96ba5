"""The graph that is deployed computes what the student does, and is apart from it."""

from __future__ import annotations

import torch
from torch.utils import _pytree as pytree

from qrecipe.structure.operands import SITES, operand_at
from qrecipe.student import calibrate
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe


@torch.no_grad()
def test_it_computes_what_the_student_computes(specimen: Specimen) -> None:
    student = specimen.student(a_recipe(W4A4, align=ALIGN, targets=TARGETS))
    calibrate(student, [specimen.batch((2, 0))])
    student.eval()
    deployable = student.deployable()
    module = deployable.module()
    for size in ((1, 64, 96), (3, 96, 64)):
        inputs = specimen.inputs(*size)
        assert set(deployable.inputs) == set(inputs)
        outputs, extras = pytree.tree_unflatten(module(**inputs), deployable.out_spec)
        expected = student.run(inputs)
        assert extras == {}
        assert type(outputs) is type(expected.outputs)
        mine, theirs = (pytree.tree_leaves(one) for one in (outputs, expected.outputs))
        assert len(mine) == len(theirs) >= 2
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_what_is_in_it(toy: Specimen) -> None:
    """Every planned operand behind its quantizer, every alignment; taps, and dead ends, are gone."""
    student = toy.student(a_recipe(W4A4, align=ALIGN, targets=TARGETS))
    deployable = student.deployable()
    nodes = list(deployable.graph.nodes)
    quantized = 0
    for node in nodes:
        for slot, site in node.meta.get(SITES, {}).items():
            quantizer = student.plan.sites[site].quantizer
            if quantizer is not None:
                assert operand_at(node, slot).target == f"fake_quantizers.{quantizer}"
                quantized += 1
    assert quantized > 30
    assert sum(str(node.target).startswith("alignments.") for node in nodes) == len(student.plan.alignments) == 2
    assert len(nodes[-1].args[0]) == deployable.out_spec.num_leaves
    assert not [node for node in nodes if node.op == "call_function" and not node.users]
    assert all("module" in node.meta for node in nodes if node.op in ("call_function", "call_module"))


def test_editing_it_leaves_the_student_alone(toy: Specimen) -> None:
    student = toy.student(a_recipe(W4A4)).eval()
    student.switch_off()
    pixels = toy.inputs(1, 16, 24)["pixel_values"]
    expected = student(pixels)["logits"]
    deployable = student.deployable()
    output = next(node for node in reversed(deployable.graph.nodes) if node.op == "output")
    output.args = ((output.args[0][0], output.args[0][0]),)
    assert deployable.module()(pixels)[1].shape[-1] == 5
    assert torch.equal(student(pixels)["logits"], expected)
    assert deployable.root is student
    assert student.deployable().module()(pixels)[1].shape[-1] == 4
