"""Brings what a structure says to the nodes of a copy of its model, where passes look for it."""

from __future__ import annotations

from ..graph.captured import Captured
from ..graph.points import QueryPoint, TapPoint
from .operands import SITES
from .structure import Structure


def mark(captured: Captured, structure: Structure) -> None:
    """Note the sites on the nodes, and set the queries and taps of both programs.

    Args:
        captured: a copy, not yet rewritten, of the model that was analysed: its nodes have the same names.
    """
    for mode, facts in structure.programs.items():
        program = captured.programs[mode]
        nodes = {node.name: node for node in program.graph.nodes}
        for operation in facts.operations:
            nodes[operation.node].meta[SITES] = dict(operation.sites)
        program.queries = {
            layer: QueryPoint(
                nodes[query.node],
                tuple((nodes[user], slot) for user, slot in query.users),
                query.layout,
                query.heads,
                query.head_dim,
            )
            for layer, query in facts.queries.items()
        }
        program.taps = {key: TapPoint(nodes[tap.node], tap.views) for key, tap in facts.taps.items()}
