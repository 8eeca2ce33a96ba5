"""The passes in the one order in which they run, and the run: each is checked before it, after it, and by the plan."""

from __future__ import annotations

from collections.abc import Iterable

from ..graph.captured import Captured
from ..placement import placement_of
from ..planning.plan import Plan
from ..vocabulary import ALIGNMENTS, CORRECTIONS, FAKE_QUANTIZERS
from .decompose_attention import DECOMPOSE_ATTENTION
from .equalize import EQUALIZE
from .expose_taps import EXPOSE_TAPS
from .fold_batch_norm import FOLD_BATCH_NORM
from .insert_alignment import INSERT_ALIGNMENT
from .insert_corrections import INSERT_CORRECTIONS
from .insert_fake_quant import INSERT_FAKE_QUANT
from .rewrite import Condition, Pass, PassReport

PASSES: tuple[Pass, ...] = (
    EQUALIZE,
    DECOMPOSE_ATTENTION,
    FOLD_BATCH_NORM,
    INSERT_ALIGNMENT,
    INSERT_FAKE_QUANT,
    INSERT_CORRECTIONS,
    EXPOSE_TAPS,
)


def run_passes(captured: Captured, plan: Plan) -> tuple[PassReport, ...]:
    """Run every pass on ``captured`` in place: a copy on which the structure is marked.

    A condition that does not hold, a graph that is no graph any more, and a count that is not the plan's are faults of
    ours, each an AssertionError.
    """
    reports = []
    for one in PASSES:
        _hold(f"before {one.name}", one.requires, captured, plan)
        report = one.run(captured, plan)
        for program in captured.programs.values():
            program.lint(captured.root)
        if report.done != report.expected:
            raise AssertionError(f"{report.name}: {report.done} {report.what}, the plan expects {report.expected}")
        _hold(f"after {one.name}", one.ensures, captured, plan)
        reports.append(report)
    placement = placement_of(captured.root)
    for name in (FAKE_QUANTIZERS, ALIGNMENTS, CORRECTIONS):
        if hasattr(captured.root, name):
            captured.root.get_submodule(name).to(device=placement.device, dtype=placement.dtype)
    return tuple(reports)


def _hold(when: str, conditions: Iterable[Condition], captured: Captured, plan: Plan) -> None:
    for condition in conditions:
        broken = condition.broken(captured, plan)
        if broken is not None:
            raise AssertionError(f"{when} it does not hold that {condition.what}: {broken}")
