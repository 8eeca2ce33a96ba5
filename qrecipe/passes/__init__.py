"""The rewrites that turn a captured model into a student, in the one order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from ..graph.captured import Captured
from ..placement import placement_of
from ..plan.plan import Plan
from ..vocabulary import ALIGNMENTS, FAKE_QUANTIZERS
from .decompose_attention import decompose_attention
from .expose_taps import expose, expose_taps
from .fold_batch_norm import fold_batch_norm
from .insert_alignment import insert_alignment
from .insert_fake_quant import insert_fake_quant
from .report import PassReport

Pass = Callable[[Captured, Plan], PassReport]

PASSES: tuple[Pass, ...] = (
    decompose_attention,
    fold_batch_norm,
    insert_alignment,
    insert_fake_quant,
    expose_taps,
)


def run_passes(captured: Captured, plan: Plan) -> list[PassReport]:
    """Run every pass on ``captured`` in place, lint after each, and hold its count against the plan."""
    reports = []
    for rewrite in PASSES:
        report = rewrite(captured, plan)
        for program in captured.programs.values():
            program.lint(captured.root)
        if report.done != report.expected:
            raise AssertionError(f"{report.name}: {report.done} {report.what}, the plan expects {report.expected}")
        reports.append(report)
    placement = placement_of(captured.root)
    for name in (FAKE_QUANTIZERS, ALIGNMENTS):
        if hasattr(captured.root, name):
            captured.root.get_submodule(name).to(device=placement.device, dtype=placement.dtype)
    return reports


__all__ = ["PASSES", "PassReport", "expose", "run_passes"]
