"""Whether a capture that was kept and read again is the one that was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from qrecipe.capture_cache.entry import Entry, capture_from_plain, capture_to_plain
from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.graph.program import MODES


def again(captured: Captured, model: nn.Module) -> Captured:
    """Through bytes and back."""
    entry = Entry("key", {}, capture_to_plain(captured))
    return capture_from_plain(Entry.from_bytes(entry.to_bytes()).data, model)


def require_same(mine: Captured, theirs: Captured, inputs: Mapping[str, Tensor]) -> None:
    """Graphs node by node with what is known of their values, and outputs bit by bit in both modes."""
    assert (mine.inputs, mine.warnings, mine.training) == (theirs.inputs, theirs.warnings, theirs.training)
    assert list(dict(mine.root.named_modules())) == list(dict(theirs.root.named_modules()))
    assert list(mine.root.state_dict()) == list(theirs.root.state_dict())
    buffers = dict(theirs.root.named_buffers())
    assert list(buffers) == [name for name, _ in mine.root.named_buffers()]
    for name, value in mine.root.named_buffers():
        assert (value.dtype, value.device) == (buffers[name].dtype, buffers[name].device)
        assert torch.equal(value, buffers[name])
    for mode in MODES:
        one, other = mine.programs[mode], theirs.programs[mode]
        assert one.out_spec == other.out_spec
        assert one.graph.python_code("self").src == other.graph.python_code("self").src
        for left, right in zip(one.graph.nodes, other.graph.nodes, strict=True):
            assert _described(left) == _described(right)
        first, second = (_outputs(captured, mode, inputs) for captured in (mine, theirs))
        assert len(first) == len(second) > 0
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def _described(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta.get("val", "none")
    return (
        node.op,
        node.name,
        node.target,
        repr(node.args),
        repr(node.kwargs),
        set(node.meta),
        node.meta.get("module"),
        pytree.tree_map(_value, value),
    )


def _value(value: Any) -> Any:
    if isinstance(value, Tensor):
        extents = [_extent(one) for one in (*value.shape, *value.stride())]
        return "tensor", value.dtype, value.device, value.requires_grad, extents
    return type(value), _extent(value)


def _extent(value: Any) -> Any:
    return value.node.expr if isinstance(value, torch.SymInt | torch.SymBool | torch.SymFloat) else value


def _outputs(captured: Captured, mode: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    copied = captured.copy()
    graph = GraphModel(copied.root, copied.programs).train(mode == "train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [one for one in pytree.tree_leaves(tuple(graph.run(inputs)[:2])) if isinstance(one, Tensor)]
