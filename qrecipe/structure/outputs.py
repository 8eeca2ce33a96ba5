"""Which of a graph's outputs are boxes and which are class logits."""

from __future__ import annotations

from typing import Any

from torch import fx
from torch.utils import _pytree as pytree

from ..graph.program import Program
from ..graph.shapes import shape_of

_BOXES = ("box", "coord", "reference", "corner", "point")
_LOGITS = ("logit", "class", "score")


def logits_and_boxes(program: Program) -> tuple[list[fx.Node], list[fx.Node]]:
    """The outputs (batch, queries, ...) that come from a class head, and those from a box head.

    Their names in the model's output tell; of two without names the first are logits, as a family reads them. Any
    other output is one of boxes if it has four columns.
    """
    flat = program.output.args[0]
    assert isinstance(flat, list | tuple)
    logits: list[fx.Node] = []
    boxes: list[fx.Node] = []
    for name, value in zip(leaf_names(program.out_spec), flat, strict=False):
        shape = shape_of(value)
        if isinstance(value, fx.Node) and shape is not None and len(shape) >= 3:
            (boxes if _is_boxes(name, shape[-1]) else logits).append(value)
    return logits, boxes


def leaf_names(spec: pytree.TreeSpec, name: str = "") -> list[str]:
    """The name of every leaf: its own key or field, or the nearest one above it."""
    if spec.is_leaf():
        return [name]
    children = spec.children()
    names = _own_names(spec.context, len(children))
    if names is None and spec.type is tuple and [child.is_leaf() for child in children] == [True, True]:
        names = ["logits", "boxes"]
    own = names or [name] * len(children)
    return [leaf for child, inner in zip(children, own, strict=True) for leaf in leaf_names(child, inner)]


def _own_names(context: Any, count: int) -> list[str] | None:
    """The names that torch keeps of a container: a list of keys, a pair with one (dataclass), a named tuple's type."""
    if isinstance(context, list | tuple) and len(context) == 2 and isinstance(context[0], list):
        context = context[0]
    fields = list(getattr(context, "_fields", context) or ())
    return fields if len(fields) == count and all(isinstance(field, str) for field in fields) else None


def _is_boxes(name: str, width: object) -> bool:
    lowered = name.lower()
    if any(part in lowered for part in _BOXES):
        return True
    return width == 4 and not any(part in lowered for part in _LOGITS)
