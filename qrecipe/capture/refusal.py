"""What a capture refuses to leave in a graph: parts that change numbers in a way that a flat graph cannot say."""

from __future__ import annotations

import linecache
import re
from typing import Any

import torch
from torch import fx, nn

from ..user_line import Line, is_users
from .cleaning.regions import REGIONS, regions_of
from .diagnosis import Refused
from .wrapper import own_name

_STEP = re.compile(r'File "([^"]+)", line (\d+), in')
_FUNCTORCH = "torch._functorch"


def refuse(module: fx.GraphModule, root: nn.Module) -> None:
    """Look for what cannot be kept.

    Raises:
        Refused: mixed precision that is switched on, an operator with graphs of its own (``cond``, a loop), or a
            function that is mapped or differentiated by ``torch.func``.
    """
    for node, owner in regions_of(module):
        if node.op != "call_function":
            continue
        target: Any = node.target
        if target is torch.ops.higher_order.wrap_with_autocast and node.args[2]:
            raise Refused("autocast", _line(node, owner, root))
        if isinstance(target, torch._ops.HigherOrderOperator) and target not in REGIONS:
            raise Refused("subgraph", _line(node, owner, root))
        if str(getattr(target, "__module__", "")).startswith(_FUNCTORCH):
            raise Refused("transform", _line(node, owner, root))


def _line(node: fx.Node, owner: fx.GraphModule, root: nn.Module) -> Line | None:
    """A node's line; where torch keeps none of it, that of the first operation in its own graphs that has one."""
    inner = [
        other
        for source in node.all_input_nodes
        if source.op == "get_attr" and isinstance(part := getattr(owner, str(source.target), None), fx.GraphModule)
        for other, _ in regions_of(part)
    ]
    lines = (_traced_at(one, root) for one in (node, *inner))
    return next((line for line in lines if line is not None), None)


def _traced_at(node: fx.Node, root: nn.Module) -> Line | None:
    """The line of the model that an operation of an exported graph was traced at, or None."""
    parts = dict(root.named_modules(remove_duplicate=False))
    stack = (node.meta.get("nn_module_stack") or {}).values()
    paths = [own_name(path) for path, _ in stack]
    module = next((path for path in reversed(paths) if path in parts), "")
    for file, number in reversed(_STEP.findall(node.meta.get("stack_trace") or "")):
        if is_users(file):
            text = linecache.getline(file, int(number)).strip()
            return Line(file, int(number), text, module, type(parts[module]).__name__)
    return None
