"""What a new pass takes: a function with its conditions, and a row."""

from __future__ import annotations

import pytest
import torch

from qrecipe.graph.captured import Captured
from qrecipe.passes import PASSES, Condition, Pass, PassReport
from qrecipe.planning import Plan
from tests.specimens import W4A4, Specimen, a_recipe

aten = torch.ops.aten
RELUS = (aten.relu.default, aten.relu_.default)


def relus(captured: Captured) -> int:
    return sum(node.target in RELUS for program in captured.programs.values() for node in program.graph.nodes)


def bound_below(captured: Captured, plan: Plan) -> PassReport:
    """Every ReLU becomes a lower bound."""
    expected = relus(captured)
    for program in captured.programs.values():
        for node in program.graph.nodes:
            if node.target in RELUS:
                node.target, node.args = aten.clamp_min.default, (node.args[0], 0)
    return PassReport("bound_below", expected - relus(captured), expected, "ReLUs bounded")


NO_RELU = Condition("no ReLU is left", lambda captured, plan: f"{relus(captured)} are" if relus(captured) else None)


def test_a_function_and_a_row(toy: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    before = toy.student(a_recipe(W4A4)).eval()
    monkeypatch.setattr("qrecipe.passes.pipeline.PASSES", (*PASSES, Pass(bound_below, ensures=(NO_RELU,))))
    student = toy.student(a_recipe(W4A4)).eval()
    report = student.reports[-1]
    assert report.name == "bound_below"
    assert report.done == report.expected > 0
    targets = {node.target for node in student.deployable().graph.nodes}
    assert aten.clamp_min.default in targets
    assert not targets & set(RELUS)
    before.switch_off()
    student.switch_off()
    batch = toy.batch((1,))
    one, other = (model(batch.pixel_values, batch.pixel_mask)["logits"] for model in (before, student))
    assert torch.equal(one, other)


def test_one_that_ensures_what_it_does_not_do_is_refused(toy: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(captured: Captured, plan: Plan) -> PassReport:
        return PassReport("idle", 0, 0, "nothing")

    monkeypatch.setattr("qrecipe.passes.pipeline.PASSES", (*PASSES, Pass(idle, ensures=(NO_RELU,))))
    with pytest.raises(AssertionError, match="after idle it does not hold that no ReLU is left"):
        toy.student(a_recipe(W4A4))
