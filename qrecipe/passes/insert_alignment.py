"""Puts the distribution alignment (Q-DETR 2.32) between a cross-attention's query and what reads it."""

from __future__ import annotations

from torch import nn

from ..distill.alignment import QueryAlignment
from ..graph.captured import Captured
from ..planning.plan import Plan
from ..vocabulary import ALIGNMENTS, QUERY
from .conditions import NOTHING_QUANTIZED, QUERIES_ALIGNED
from .rewrite import Pass, PassReport


def insert_alignment(captured: Captured, plan: Plan) -> PassReport:
    """One module per planned layer, shared by both programs."""
    if not plan.alignments:
        return PassReport("insert_alignment", 0, 0, "queries aligned")
    modules = nn.Module()
    captured.root.add_module(ALIGNMENTS, modules)
    done = 0
    for planned in plan.alignments:
        modules.add_module(
            planned.name,
            QueryAlignment(
                f"{QUERY}.{planned.layer}",
                planned.heads,
                planned.head_dim,
                planned.per,
                planned.layout,
                planned.blend is not None,
            ),
        )
        target = f"{ALIGNMENTS}.{planned.name}"
        for program in captured.programs.values():
            point = program.queries[planned.layer]
            order = {node: index for index, node in enumerate(program.graph.nodes)}
            first = min((user for user, _ in point.users), key=order.__getitem__)
            with program.graph.inserting_before(first):
                aligned = program.graph.call_module(target, (point.node,))
            aligned.meta = {"module": point.node.meta.get("module", ""), "val": point.node.meta.get("val")}
            for user, slot in point.users:
                user.update_arg(slot, aligned)
            done += sum(node.op == "call_module" and node.target == target for node in program.graph.nodes)
    return PassReport("insert_alignment", done, len(plan.alignments) * len(captured.programs), "queries aligned")


INSERT_ALIGNMENT = Pass(insert_alignment, requires=(NOTHING_QUANTIZED,), ensures=(QUERIES_ALIGNED,))
