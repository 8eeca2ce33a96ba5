"""Reconstruction of whole students: no block gets worse, it repeats, and goes on where it was cut off."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from qrecipe.data.batch import Batch
from qrecipe.errors import CalibrationError
from qrecipe.quantizers import Quantizer
from qrecipe.reconstruct import BlockReport, ReconstructSettings, reconstruct
from qrecipe.reconstruct.weights import weight_behind
from qrecipe.student import Student, calibrate
from tests.specimens import ALIGN, W4A4, Specimen, a_recipe

LEAVES_ROOM = {**W4A4, "weight": {**W4A4["weight"], "init": "mse"}, "reconstruct": {}}
"""Behind ranges of least output error a few steps help few blocks, and which ones is chance."""
FEW = ReconstructSettings(iterations=12, keep=0.5, seed=0)


def calibrated(specimen: Specimen, **parts: object) -> tuple[Student, list[Batch]]:
    student = specimen.student(a_recipe(**{"quantize": W4A4, **parts}))
    batches = [specimen.batch((2, 1)), specimen.batch((1, 1), seed=1)]
    calibrate(student, batches)
    return student, batches


def same(one: Student, other: Student) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_blocks_get_better_and_nothing_else_changes(specimen: Specimen) -> None:
    student, batches = calibrated(specimen, quantize=LEAVES_ROOM, align=ALIGN)
    before = copy.deepcopy(student)
    told: list[tuple[int, int]] = []
    reports = reconstruct(student, batches, FEW, on_block=lambda report, number, total: told.append((number, total)))
    assert told == [(number, len(reports)) for number in range(1, len(reports) + 1)]
    planned = [(block.name, len(block.operations)) for block in student.plan.blocks]
    assert [(report.name, report.weighted) for report in reports] == planned
    assert all(report.after <= report.before for report in reports)
    assert sum(report.after < report.before for report in reports) > len(reports) // 3
    assert (student.training, student.quantized_roles) == (before.training, before.quantized_roles)
    assert [p.requires_grad for p in student.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(parameter.grad is None for parameter in student.parameters())
    for name, module in before.named_modules():  # weights' scales, and every stand-in is gone
        assert type(student.get_submodule(name)) is type(module)
        if isinstance(module, Quantizer) and module.operand.is_weight:
            assert torch.equal(module.encoding().scale, student.get_submodule(name).encoding().scale)


def test_weights_lie_on_their_grids_between_the_two_nearest_points(toy: Specimen) -> None:
    student, batches = calibrated(toy, quantize=LEAVES_ROOM)
    before = copy.deepcopy(student)
    reconstruct(student, batches, FEW)
    moved = 0
    for node in student.deployable().graph.nodes:
        module = student.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not (isinstance(module, Quantizer) and module.operand.is_weight and module.mode == "on"):
            continue
        new, old = (weight_behind(model, node.all_input_nodes[0]) for model in (student, before))
        assert new is not None
        assert old is not None
        if torch.equal(new.value(), old.value()):
            continue  # a block that learning did not help
        moved += 1
        torch.testing.assert_close(module(new.value()), new.value())
        steps = (module.integers(new.value()) - module.integers(old.value())).abs()
        assert int(steps.max()) <= 1
    assert moved > 1


def test_it_is_the_same_twice_and_when_it_is_cut_off(demo: Specimen) -> None:
    student, batches = calibrated(demo)
    before = copy.deepcopy(student)
    states: list[dict[str, torch.Tensor]] = []

    def keep(report: BlockReport, number: int, total: int) -> None:
        states.append(copy.deepcopy(student.state_dict()))

    torch.manual_seed(1)
    reports = reconstruct(student, batches, FEW, on_block=keep)
    for cut in (0, 3, len(reports)):
        again = copy.deepcopy(before)
        if cut:
            again.load_state_dict(states[cut - 1])
        torch.manual_seed(2)
        assert reconstruct(again, batches, FEW, real=before, done=reports[:cut]) == reports
        assert same(again, student)


def test_what_cannot_be_done_is_said(toy: Specimen) -> None:
    student, batches = calibrated(toy)
    with pytest.raises(CalibrationError, match="no batches"):
        reconstruct(student, [], FEW)
    with pytest.raises(ValueError, match="the one of before"):
        reconstruct(student, [toy.batch()], FEW, done=[BlockReport("a", 1, 1.0, 0.5)])
    other = BlockReport("of another version", 1, 0.0, 0.0)
    with pytest.raises(CalibrationError, match="of another version is done, where this version has "):
        reconstruct(student, batches, FEW, real=copy.deepcopy(student), done=[other])


def test_without_steps_blocks_are_rounded_alone(toy: Specimen) -> None:
    student, batches = calibrated(toy, quantize=LEAVES_ROOM)
    before = copy.deepcopy(student)
    reports = reconstruct(student, batches, replace(FEW, iterations=0))
    assert all(report.after <= report.before for report in reports)
    assert any(report.after < report.before for report in reports)
    for name, module in before.named_modules():
        if isinstance(module, Quantizer):
            again = student.get_submodule(name)
            assert isinstance(again, Quantizer)
            assert torch.equal(module.encoding().scale, again.encoding().scale)
