"""Which operands an operation has, what they are called, and which of the recipe's defaults applies to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from ..graph.shapes import is_float, shape_of
from ..graph.softmax import PARTS, RESHAPES, from_scores, from_softmax, leads_to_softmax
from ..vocabulary import OperandKind

aten = torch.ops.aten
Slot = int | tuple[int, int] | str
"""An argument's index; (argument, item) of a list; or ``probabilities``, which only the decomposed attention has."""

OPERATORS: dict[Any, str] = {
    aten.linear.default: "linear",
    aten.conv1d.default: "conv",
    aten.conv2d.default: "conv",
    aten.conv2d.padding: "conv",
    aten.conv_transpose2d.input: "conv_transpose",
    aten.matmul.default: "matmul",
    aten.bmm.default: "matmul",
    aten.baddbmm.default: "matmul",
    aten.scaled_dot_product_attention.default: "attention",
    aten.mul.Tensor: "weighted_sum",
    aten.add.Tensor: "add",
    aten.add_.Tensor: "add",
    aten.cat.default: "cat",
    aten.concat.default: "cat",
    aten.silu.default: "silu",
    aten.silu_.default: "silu",
    aten.avg_pool2d.default: "avg_pool",
}
SITES = "qrecipe_sites"
"""Key of a node's meta: slot to site name. It is how passes know a node's sites; they hand it on when they rewrite."""

WEIGHTED = ("linear", "conv", "conv_transpose")
PASSIVE = ("add", "cat", "silu", "avg_pool")
"""Operators without weights or attention: sites, but real-valued unless a rule names the operator. A convolution
in front of one gives integers only if they are read there; a ReLU becomes a part of the convolution, and is no site."""
ALONE = ("silu", "avg_pool")
"""Those of them that read one value."""

_JOINS = {aten.stack.default, aten.cat.default, aten.concat.default}


@dataclass(frozen=True)
class Operand:
    """One operand: its site's name, where it stands among the arguments, and which default applies to it."""

    site: str
    slot: Slot
    name: str
    kind: OperandKind


def slots_of(node: fx.Node, operator: str) -> list[tuple[Slot, str, OperandKind]]:
    """The operands of an operation: where each stands, its name, and its kind."""
    if operator in WEIGHTED:
        return [(0, "input", "activation"), (1, "weight", "weight")]
    if operator == "attention":
        return [
            (0, "query", "attention"),
            (1, "key", "attention"),
            (2, "value", "attention"),
            ("probabilities", "probabilities", "attention"),
        ]
    if operator == "matmul":
        first = 1 if node.target is aten.baddbmm.default else 0
        names, kind = _product_names(node, first)
        return [(first, names[0], kind), (first + 1, names[1], kind)]
    if operator == "weighted_sum":
        left = from_softmax(node.args[0])
        names = ("probabilities", "value") if left else ("value", "probabilities")
        return [(0, names[0], "attention"), (1, names[1], "attention")]
    if operator == "cat":
        items = node.args[0]
        assert isinstance(items, list | tuple)
        return [((0, index), f"input{index}", "activation") for index in range(len(items))]
    if operator in ALONE:
        return [(0, "input", "activation")]
    return [(0, "left", "activation"), (1, "right", "activation")]


def _product_names(node: fx.Node, first: int) -> tuple[tuple[str, str], OperandKind]:
    """An attention's products are told by the softmax behind the first and before the second."""
    if from_softmax(node.args[first]):
        return ("probabilities", "value"), "attention"
    if leads_to_softmax(node):
        return ("query", "key"), "attention"
    return ("left", "right"), "activation"


def is_weighted_sum(node: fx.Node) -> bool:
    """An attention's product of values and weights, which a sum follows: deformable attention's, of sampled values, or
    one by dot product that is written so."""
    left, right = node.args[0], node.args[1]
    if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)):
        return False
    if from_softmax(left) == from_softmax(right):
        return False
    weights, values = (left, right) if from_softmax(left) else (right, left)
    return (is_sampled(values) or from_scores(weights)) and any(
        user.target in (aten.sum.dim_IntList, aten.sum.default) for user in node.users
    )


def is_sampled(value: fx.Node) -> bool:
    """Whether a value is what ``grid_sample`` gave, part of it, reshaped, stacked or concatenated."""
    pending, steps = [value], 0
    while pending and steps < 16:
        node = pending.pop()
        steps += 1
        if node.target is aten.grid_sampler.default:
            return True
        if node.target in RESHAPES | PARTS | _JOINS:
            pending.extend(node.all_input_nodes)
    return False


def reads_features(node: fx.Node) -> bool:
    """Whether a passive operation reads features: floating-point tensors of the same rank, at least three."""
    operator = OPERATORS[node.target]
    if operator in ALONE:
        return is_float(node.args[0]) and len(shape_of(node.args[0]) or ()) >= 3
    sources = node.args[0] if operator == "cat" else node.args[:2]
    assert isinstance(sources, list | tuple)
    shapes = [shape_of(source) for source in sources]
    if not all(is_float(source) for source in sources):
        return False
    ranks = {len(shape) for shape in shapes if shape is not None}
    width = next((shape[-1] for shape in shapes if shape), 0)
    return len(sources) > 1 and len(ranks) == 1 and max(ranks) >= 3 and width not in (1, 2, 4)


def operand_at(node: fx.Node, slot: Slot) -> Any:
    """What stands in a slot now; None for one that has no argument yet."""
    if isinstance(slot, tuple):
        items = node.args[slot[0]]
        assert isinstance(items, list | tuple)
        return items[slot[1]]
    return node.args[slot] if isinstance(slot, int) and slot < len(node.args) else None
