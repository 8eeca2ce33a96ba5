"""Puts what calibration corrects between a layer's bias and the layer; where there is no bias, in its place."""

from __future__ import annotations

from ..graph.captured import Captured
from ..planning.plan import Plan
from ..quantizers import BiasCorrection
from ..structure.operands import SITES
from ..vocabulary import CORRECTIONS
from .conditions import BIASES_CORRECTED, NORMS_FOLDED, OPERANDS_QUANTIZED
from .placing import add_module
from .rewrite import Pass, PassReport


def insert_corrections(captured: Captured, plan: Plan) -> PassReport:
    """One module per planned weight, called wherever a layer multiplies with that weight, in both programs."""
    corrected = {planned.site: planned for planned in plan.corrections}
    for planned in plan.corrections:
        add_module(captured.root, f"{CORRECTIONS}.{planned.site}", BiasCorrection(planned.channels))
    done = expected = 0
    for program in captured.programs.values():
        for node in list(program.graph.nodes):
            planned_here = corrected.get(node.meta.get(SITES, {}).get(1, ""))
            if planned_here is None:
                continue
            expected += 1
            bias = node.args[2] if len(node.args) > 2 else None
            with program.graph.inserting_before(node):
                call = program.graph.call_module(f"{CORRECTIONS}.{planned_here.site}", (bias,))
            call.meta = {"module": node.meta.get("module", "")}
            node.args = (*node.args[:2], call, *node.args[3:])
            done += 1
    return PassReport("insert_corrections", done, expected, "biases corrected")


INSERT_CORRECTIONS = Pass(
    insert_corrections,
    requires=(NORMS_FOLDED, OPERANDS_QUANTIZED),
    ensures=(BIASES_CORRECTED,),
)
