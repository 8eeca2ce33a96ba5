"""A file without what nothing reads in it, and every constant once."""

from __future__ import annotations

import onnx

from .equal import once_each, with_inner


def prune(model: onnx.ModelProto) -> None:
    """Take out nodes whose results nothing reads, and constants likewise; store those of equal value once. In place."""
    graph = model.graph
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if any(name in read for name in node.output):
            kept.append(node)
            read.update(name for one in with_inner([node]) for name in one.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = once_each(graph, [tensor for tensor in graph.initializer if tensor.name in read])
    del graph.initializer[:]
    graph.initializer.extend(constants)
