"""A program, a graph and how its outputs read, as plain data and back."""

from __future__ import annotations

import operator
import re
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from ..graph.program import GraphMode, Program
from .plain import Unkeepable, from_plain, to_plain
from .values import ValueReader, ValueWriter

_SYMBOLIC = re.compile(r"_?sym_\w+")
"""What torch calls its functions of symbolic numbers."""
_PATH = re.compile(r"\w+(\.\w+)*")


def program_to_plain(program: Program) -> dict[str, Any]:
    """Raises: Unkeepable: it holds something that is not known here."""
    values, places = ValueWriter(), dict[fx.Node, int]()

    def other(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return ["node", places[value]]
        raise Unkeepable(f"an argument in it is a {type(value).__name__}")

    nodes = []
    for node in program.graph.nodes:
        target = target_to_plain(node.target) if node.op == "call_function" else node.target
        known = values.place(node.meta["val"]) if "val" in node.meta else None
        arguments = [to_plain(node.args, other), to_plain(dict(node.kwargs), other)]
        nodes.append([node.op, node.name, target, *arguments, node.meta.get("module"), known])
        places[node] = len(places)
    return {
        "symbols": values.symbols,
        "values": values.values,
        "nodes": nodes,
        "outputs": _spec_to_plain(program.out_spec),
    }


def program_from_plain(data: dict[str, Any], mode: GraphMode) -> Program:
    """Raises: Exception: this is not what ``program_to_plain`` writes."""
    values = ValueReader(data["values"], data["symbols"]).values
    graph, nodes = fx.Graph(), list[fx.Node]()

    def other(tag: str, rest: list[Any]) -> Any:
        if tag != "node":
            raise ValueError(f"no argument is a {tag}")
        return nodes[rest[0]]

    for op, name, target, args, kwargs, module, known in data["nodes"]:
        if op != "call_function" and not _PATH.fullmatch(target):
            raise ValueError(f"no part has the name {target}")  # it becomes part of the graph's code
        called = target_from_plain(target) if op == "call_function" else target
        node = graph.create_node(op, called, from_plain(args, other), from_plain(kwargs, other), name)
        if node.name != name:
            node._rename(name)
        if module is not None:
            node.meta["module"] = module
        if known is not None:
            node.meta["val"] = values[known]
        nodes.append(node)
    return Program(mode, graph, _spec_from_plain(data["outputs"]))


def target_to_plain(target: Any) -> str:
    """The name of an operator of torch, or of a function of Python or torch over symbolic numbers.

    Raises:
        Unkeepable: it has no name that leads back to it.
    """
    if isinstance(target, torch._ops.OpOverload):
        name = f"ops.{target}"
    else:
        module = str(getattr(target, "__module__", "")).removeprefix("_")
        name = f"{module if module in ('operator', 'math') else 'torch'}.{getattr(target, '__name__', '')}"
    try:
        found = target_from_plain(name)
    except (AttributeError, ValueError):
        found = None
    if found is not target:
        raise Unkeepable(f"it calls {getattr(target, '__name__', target)}, which is no operator")
    return name


def target_from_plain(name: str) -> Any:
    """Raises: AttributeError, ValueError: there is no such operator (any more)."""
    home, _, rest = name.partition(".")
    if home == "ops":
        found: Any = torch.ops
        for part in rest.split("."):
            found = getattr(found, part)
        if isinstance(found, torch._ops.OpOverload):
            return found
    elif home == "operator" and not rest.startswith("_"):
        return getattr(operator, rest)
    elif home == "math" and not rest.startswith("_"):
        import math

        return getattr(math, rest)
    elif home == "torch" and _SYMBOLIC.fullmatch(rest):
        return getattr(torch, rest)
    raise ValueError(f"no operator is called {name}")


def _spec_to_plain(spec: pytree.TreeSpec) -> Any:
    if spec.is_leaf():
        return None
    name = _kind_name(spec.type)
    if _kinds().get(name) is not spec.type:
        raise Unkeepable(f"its outputs come in a {spec.type.__name__}")
    context = to_plain(spec.context, _type_to_plain)
    return [name, context, [_spec_to_plain(child) for child in spec.children()]]


def _spec_from_plain(data: Any) -> pytree.TreeSpec:
    if data is None:
        return pytree.treespec_leaf()
    name, context, children = data
    return pytree.TreeSpec(
        _kinds()[name], from_plain(context, _type_from_plain), [_spec_from_plain(child) for child in children]
    )


def _type_to_plain(value: Any) -> Any:
    """A context may name a type, as that of a named tuple does."""
    if isinstance(value, type) and _kinds().get(_kind_name(value)) is value:
        return ["type", _kind_name(value)]
    raise Unkeepable(f"its outputs are described by a {type(value).__name__}")


def _type_from_plain(tag: str, rest: list[Any]) -> Any:
    if tag != "type":
        raise ValueError(f"no context is a {tag}")
    return _kinds()[rest[0]]


def _kind_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _kinds() -> dict[str, type]:
    """The kinds of containers that torch knows by now, by name."""
    return {_kind_name(kind): kind for kind in pytree.SUPPORTED_NODES}
