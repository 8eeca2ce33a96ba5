"""Makes tapped values extra outputs of the graphs: they survive deepcopy, DDP, torch.compile and export."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.captured import Captured
from ..plan.plan import Plan, PlannedTap
from .report import PassReport


def expose_taps(captured: Captured, plan: Plan) -> PassReport:
    """Append the planned taps to both graphs' outputs."""
    return expose(captured, plan.taps)


def expose(captured: Captured, taps: Sequence[PlannedTap]) -> PassReport:
    """Append taps to both graphs' outputs, behind the model's own."""
    done = 0
    for program in captured.programs.values():
        flat = program.output.args[0]
        assert isinstance(flat, list | tuple)
        nodes = [program.taps[tap.role, tap.layer].compute(program.graph) for tap in taps]
        program.output.args = ((*flat, *nodes),)
        program.exposed = (*program.exposed, *(tap.name for tap in taps))
        done += len(nodes)
    return PassReport("expose_taps", done, len(taps) * len(captured.programs), "values tapped")
