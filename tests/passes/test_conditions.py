"""Every condition of a pass is seen to be broken, and a pass out of its order is refused."""

from __future__ import annotations

import pytest

from qrecipe.graph.captured import Captured
from qrecipe.passes import PASSES, Condition, Pass, run_passes
from qrecipe.passes import conditions as known
from qrecipe.passes.equalize import EQUALIZE
from qrecipe.planning import Plan, build_plan
from tests.specimens import ALIGN, TARGETS, W4A4, Specimen, a_recipe
from tests.toys import marked

EVERYTHING = a_recipe({**W4A4, "correct_biases": True}, align=ALIGN, targets=TARGETS)
CONDITIONS = [one for one in vars(known).values() if isinstance(one, Condition)]


@pytest.fixture
def drafted(toy: Specimen) -> tuple[Captured, Plan]:
    captured, structure = marked(toy.captured)
    return captured, build_plan(structure, EVERYTHING, (16, 24))


def test_each_condition_is_one_that_a_pass_states() -> None:
    stated = {one.what for rewrite in PASSES for one in (*rewrite.requires, *rewrite.ensures)}
    assert {one.what for one in CONDITIONS} == stated
    # Equalization changes values alone, and no graph: test_equalize.py holds it.
    assert all(one.ensures or one is EQUALIZE for one in PASSES)


def test_what_a_pass_ensures_does_not_hold_before_it(drafted: tuple[Captured, Plan]) -> None:
    captured, plan = drafted
    for rewrite in PASSES:
        assert not any(one.broken(captured, plan) for one in rewrite.requires), rewrite.name
        assert all(one.broken(captured, plan) for one in rewrite.ensures), rewrite.name
        rewrite.run(captured, plan)
        assert not any(one.broken(captured, plan) for one in rewrite.ensures), rewrite.name
    assert known.NOTHING_QUANTIZED.broken(captured, plan) == "fake_quantizers.backbone.0.input is called"


RELIED_ON = {one.what for rewrite in PASSES for one in rewrite.requires}


@pytest.mark.parametrize(
    "left", [one for one in PASSES if {stated.what for stated in one.ensures} & RELIED_ON], ids=lambda one: one.name
)
def test_a_pass_that_is_left_out_is_missed(
    left: Pass, drafted: tuple[Captured, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one that relies on it."""
    monkeypatch.setattr("qrecipe.passes.pipeline.PASSES", tuple(one for one in PASSES if one is not left))
    with pytest.raises(AssertionError, match=rf"it does not hold that {left.ensures[0].what}"):
        run_passes(*drafted)


@pytest.mark.parametrize(
    "late", [one for one in PASSES if known.NOTHING_QUANTIZED in one.requires], ids=lambda one: one.name
)
def test_a_pass_that_comes_late_is_refused(
    late: Pass, drafted: tuple[Captured, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured, plan = drafted
    for one in PASSES:
        if one is not late:
            one.run(captured, plan)
    monkeypatch.setattr("qrecipe.passes.pipeline.PASSES", (late,))
    with pytest.raises(AssertionError, match=f"before {late.name} it does not hold that no operand is quantized yet"):
        run_passes(captured, plan)


def test_what_the_passes_did_stays_with_the_student(toy: Specimen) -> None:
    student = toy.student(EVERYTHING)
    assert [report.name for report in student.reports] == [one.name for one in PASSES]
    found = {report.name: report.done for report in student.reports}
    assert all(report.done == report.expected for report in student.reports)
    assert found["insert_alignment"] == 2 * len(student.plan.alignments)
    assert found["expose_taps"] == 2 * len(student.plan.taps)
    assert found["fold_batch_norm"] == 2
