"""What comes before and after a node of a graph."""

from __future__ import annotations

from collections.abc import Container, Iterable

from torch import fx


def downstream(graph: fx.Graph, starts: set[fx.Node]) -> set[fx.Node]:
    """``starts`` and everything computed from them."""
    found = set(starts)
    for node in graph.nodes:
        if node not in found and any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def upstream(starts: Iterable[fx.Node], stop: Container[fx.Node]) -> set[fx.Node]:
    """``starts`` and everything they are computed from, as far as the nodes of ``stop``, which are left out."""
    found: set[fx.Node] = set()
    pending = [node for node in starts if node not in stop]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(source for source in node.all_input_nodes if source not in stop)
    return found


def within(module: str, path: str) -> bool:
    """Whether a module path is ``path`` or lies below it."""
    return module == path or module.startswith(f"{path}.")


def region_of(graph: fx.Graph, path: str) -> list[fx.Node]:
    """The nodes that a module computes, in order."""
    return [node for node in graph.nodes if within(node.meta.get("module", ""), path) and node.op != "get_attr"]


def exits_of(region: Iterable[fx.Node]) -> list[fx.Node]:
    """The nodes of a region that something outside it reads."""
    inside = dict.fromkeys(region)
    return [node for node in inside if any(user not in inside for user in node.users)]
