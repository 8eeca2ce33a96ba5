"""Makes tapped values extra outputs of the graphs: they survive deepcopy, DDP, torch.compile and export."""

from __future__ import annotations

from ..graph.captured import Captured
from ..graph.program import Program
from ..planning.plan import Plan
from .conditions import OPERANDS_QUANTIZED, TAPS_EXPOSED
from .rewrite import Pass, PassReport


def expose_taps(captured: Captured, plan: Plan) -> PassReport:
    """Append the planned taps that are there to both graphs' outputs, behind the model's own."""
    done = 0
    for program in captured.programs.values():
        found = {tap.name: program.taps.get((tap.role, tap.layer)) for tap in plan.taps}
        there = {name: point.compute(program.graph) for name, point in found.items() if point is not None}
        program.output.args = ((*program.outputs, *there.values()),)
        program.exposed = tuple(there)
        done += _exposed(program)
    return PassReport("expose_taps", done, len(plan.taps) * len(captured.programs), "values tapped")


def _exposed(program: Program) -> int:
    """How many outputs a graph has behind the model's own."""
    return len(program.outputs) - program.out_spec.num_leaves


EXPOSE_TAPS = Pass(expose_taps, requires=(OPERANDS_QUANTIZED,), ensures=(TAPS_EXPOSED,))
