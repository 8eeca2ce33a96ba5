"""A graph cut into consecutive parts, each a function of what it reads from inputs and from the parts before it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx


@dataclass(frozen=True)
class Part:
    """Consecutive nodes.

    reads: what they take from inputs and earlier parts. writes: what later ones and the graph's output take from them.
    last: of ``reads``, what nothing needs afterwards.
    """

    nodes: tuple[fx.Node, ...]
    reads: tuple[fx.Node, ...]
    writes: tuple[fx.Node, ...]
    last: tuple[fx.Node, ...]

    def graph(self) -> fx.Graph:
        """A graph of its own: a placeholder for each of ``reads``, in their order, and ``writes`` as its output."""
        graph, made = copied(self.nodes, [node.name for node in self.reads])
        graph.output(tuple(made[node.name] for node in self.writes))
        return graph


def parts_of(graph: fx.Graph, cuts: Sequence[Sequence[fx.Node]], shown: Collection[Any] = ()) -> tuple[Part, ...]:
    """The parts of these nodes, which begin a graph and follow each other.

    shown: nodes that are written, whoever reads them.
    """
    home = {node: index for index, nodes in enumerate(cuts) for node in nodes}
    readers = {node: [home.get(user, len(home)) for user in node.users] for node in graph.nodes}
    parts = []
    for index, nodes in enumerate(cuts):
        inside = set(nodes)
        sources = [source for node in nodes for source in node.all_input_nodes]
        reads = tuple(dict.fromkeys(node for node in sources if node not in inside and node.op != "get_attr"))
        writes = [node for node in nodes if node in shown or any(reader > index for reader in readers[node])]
        last = [node for node in reads if max(readers[node]) <= index]
        parts.append(Part(tuple(nodes), reads, tuple(writes), tuple(last)))
    return tuple(parts)


def copied(nodes: Sequence[fx.Node], reads: Sequence[str]) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Nodes and the parts of the model that they read, behind placeholders; without an output. By their names."""
    graph = fx.Graph()
    made = {name: graph.placeholder(name) for name in reads}
    for node in nodes:
        for source in node.all_input_nodes:
            if source.op == "get_attr" and source.name not in made:
                made[source.name] = graph.node_copy(source)
        made[node.name] = graph.node_copy(node, lambda own: made[own.name])
    return graph, made
