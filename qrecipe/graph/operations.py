"""Finds what can be quantized: every operation with its operands, under names that both structures share."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from ..errors import CaptureError
from .capture import Captured
from .face import Face, Structure
from .shapes import is_float, shape_of

aten = torch.ops.aten
OperandKind = Literal["weight", "activation", "attention"]
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
}
OPERANDS = "qrecipe_operands"
"""Key of a node's meta: slot to site name. It is how passes know a node's sites; they hand it on when they rewrite."""

WEIGHTED = ("linear", "conv", "conv_transpose")
PASSIVE = ("add", "cat")
"""Operators without multiplications: sites, but real-valued unless a rule names the operator."""

_SHAPING = {
    aten.view.default,
    aten.reshape.default,
    aten.transpose.int,
    aten.permute.default,
    aten.contiguous.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.expand.default,
    aten.slice.Tensor,
    aten.to.dtype,
    aten.clone.default,
}
_SOFTMAX = {aten.softmax.int, aten._softmax.default}


@dataclass(frozen=True)
class Operand:
    """One operand: its site's name, where it stands among the arguments, and which default applies to it."""

    site: str
    slot: Slot
    name: str
    kind: OperandKind


@dataclass(frozen=True)
class Operation:
    """One operation of one structure. ``name`` is the same in the other structure where it exists there too."""

    name: str
    module: str
    operator: str
    node: fx.Node
    operands: tuple[Operand, ...]


def find_operations(captured: Captured) -> dict[Structure, list[Operation]]:
    """Every operation with quantizable operands, in graph order, for both structures; notes the sites on the nodes.

    A name is the module's path, the operator where it is no module of its own, and ``@k`` for the k-th call. Where the
    training graph calls a module more often than the evaluation graph, calls are told apart by what they compute.

    Raises:
        CaptureError: a call of the evaluation graph that has no counterpart among several in training.
    """
    canonical = canonical_parameters(captured.root)
    grouped = {structure: _grouped(face, captured.root) for structure, face in captured.faces.items()}
    hashes = {
        structure: _value_hashes(face, captured.root, canonical) for structure, face in captured.faces.items()
    }
    found: dict[Structure, list[Operation]] = {"train": [], "eval": []}
    for base, nodes in grouped["train"].items():
        for index, node in enumerate(nodes):
            found["train"].append(_operation(base, index, node, captured.root, canonical))
    for base, nodes in grouped["eval"].items():
        others = grouped["train"].get(base, [])
        for index, node in enumerate(nodes):
            if len(others) not in (0, len(nodes)):
                index = _counterpart(base, hashes["eval"][node], [hashes["train"][other] for other in others])
            found["eval"].append(_operation(base, index, node, captured.root, canonical))
    for structure, face in captured.faces.items():
        order = {node: position for position, node in enumerate(face.graph.nodes)}
        found[structure].sort(key=lambda operation: order[operation.node])
        for operation in found[structure]:
            operation.node.meta[OPERANDS] = {operand.slot: operand.site for operand in operation.operands}
    return found


def canonical_parameters(root: nn.Module) -> dict[str, str]:
    """Every name of every parameter to the first of its names: tied parameters share one quantizer."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        names[name] = first.setdefault(id(parameter), name)
    return names


def _counterpart(base: str, own: str, others: list[str]) -> int:
    matches = [index for index, other in enumerate(others) if other == own]
    if len(matches) != 1:
        raise CaptureError(
            f"a call in the evaluation graph matches {len(matches)} of {len(others)} calls in the training graph",
            where=base,
            remedy="quantizers are shared between the two, so each call must compute the same in both",
        )
    return matches[0]


def _grouped(face: Face, root: nn.Module) -> dict[str, list[fx.Node]]:
    groups: dict[str, list[fx.Node]] = defaultdict(list)
    for node in face.graph.nodes:
        if node.op != "call_function" or node.target not in OPERATORS:
            continue
        operator = OPERATORS[node.target]
        if operator in WEIGHTED and len(shape_of(node.args[1]) or ()) < 2:
            continue  # a product with a vector, as in D-FINE's integral: box arithmetic, no layer
        if operator == "weighted_sum" and not _is_weighted_sum(node):
            continue
        if operator in PASSIVE and not _is_feature_join(node):
            continue
        module = node.meta["module"]
        own = operator in WEIGHTED and module and not any(root.get_submodule(module).children())
        groups[module if own else f"{module}.{operator}".lstrip(".")].append(node)
    return groups


def _operation(base: str, index: int, node: fx.Node, root: nn.Module, canonical: Mapping[str, str]) -> Operation:
    name = f"{base}@{index}" if index else base
    operator = OPERATORS[node.target]
    operands = []
    for slot, operand, kind in _slots(node, operator):
        source = operand_at(node, slot)
        site = f"{name}.{operand}"
        if kind == "weight" and isinstance(source, fx.Node) and source.op == "get_attr":
            site = canonical.get(str(source.target), str(source.target))
        operands.append(Operand(site, slot, operand, kind))
    return Operation(name, node.meta["module"], operator, node, tuple(operands))



def _slots(node: fx.Node, operator: str) -> list[tuple[Slot, str, OperandKind]]:
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
        left = _from_softmax(node.args[0])
        return [(0, "probabilities" if left else "value", "attention"), (1, "value" if left else "probabilities", "attention")]
    if operator == "cat":
        items = node.args[0]
        assert isinstance(items, list | tuple)
        return [((0, index), f"input{index}", "activation") for index in range(len(items))]
    return [(0, "left", "activation"), (1, "right", "activation")]


def _product_names(node: fx.Node, first: int) -> tuple[tuple[str, str], OperandKind]:
    """An attention's products are told by the softmax behind the first and before the second."""
    if _from_softmax(node.args[first]):
        return ("probabilities", "value"), "attention"
    if leads_to_softmax(node):
        return ("query", "key"), "attention"
    return ("left", "right"), "activation"


def leads_to_softmax(node: fx.Node) -> bool:
    """Whether a product reaches a softmax through scaling, masks and reshaping only."""
    pending, seen = [node], set()
    through = {*_SHAPING, aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor, aten.masked_fill.Scalar, aten.where.self}
    while pending:
        for user in pending.pop().users:
            if user.target in _SOFTMAX:
                return True
            if user.target in through and user not in seen:
                seen.add(user)
                pending.append(user)
    return False


def _from_softmax(value: Any) -> bool:
    while isinstance(value, fx.Node):
        if value.target in _SOFTMAX:
            return True
        if value.target not in _SHAPING and not (value.op == "call_module" and str(value.target).startswith("dropouts.")):
            return False
        value = value.args[0]
    return False


def _is_weighted_sum(node: fx.Node) -> bool:
    """Deformable attention's product of sampled values and weights, which a sum over the samples follows."""
    left, right = node.args[0], node.args[1]
    if not (isinstance(left, fx.Node) and isinstance(right, fx.Node)):
        return False
    if _from_softmax(left) == _from_softmax(right):
        return False
    values = right if _from_softmax(left) else left
    sampled = any(
        source.target is aten.grid_sampler.default for source in (values, *values.all_input_nodes) if source.op != "get_attr"
    ) or _sampled(values)
    return sampled and any(user.target in (aten.sum.dim_IntList, aten.sum.default) for user in node.users)


def _sampled(value: fx.Node) -> bool:
    pending, steps = [value], 0
    while pending and steps < 16:
        node = pending.pop()
        steps += 1
        if node.target is aten.grid_sampler.default:
            return True
        if node.target in _SHAPING or node.target in (aten.stack.default, aten.cat.default, aten.concat.default):
            pending.extend(node.all_input_nodes)
    return False


def _is_feature_join(node: fx.Node) -> bool:
    """An addition or concatenation of features: floating-point tensors of the same rank, at least three."""
    sources = node.args[0] if OPERATORS[node.target] == "cat" else node.args[:2]
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


def _value_hashes(face: Face, root: nn.Module, canonical: Mapping[str, str]) -> dict[fx.Node, str]:
    """What each node computes, as a hash over operators, constants and parameter names; dropout counts for nothing."""
    hashes: dict[fx.Node, str] = {}

    def text(value: Any) -> str:
        if isinstance(value, fx.Node):
            return hashes[value]
        if isinstance(value, list | tuple):
            return "[" + ",".join(text(item) for item in value) + "]"
        if isinstance(value, dict):
            return text(sorted((key, text(item)) for key, item in value.items()))
        return repr(value)

    for node in face.graph.nodes:
        if node.op == "call_module" and str(node.target).startswith("dropouts."):
            hashes[node] = hashes[node.all_input_nodes[0]]
            continue
        args: Any = node.args
        if node.target is aten.scaled_dot_product_attention.default:
            args = tuple(value for index, value in enumerate(args) if index != 4)  # dropout's probability
        kwargs = {key: value for key, value in node.kwargs.items() if key != "dropout_p"}
        name = canonical.get(str(node.target), str(node.target)) if node.op == "get_attr" else str(node.target)
        if node.op == "get_attr" and name.startswith("constants."):
            value = getattr(root.get_submodule("constants"), name.removeprefix("constants."))
            name = _digest(value) if isinstance(value, Tensor) else name
        hashes[node] = hashlib.sha256(f"{node.op} {name} {text(args)} {text(kwargs)}".encode()).hexdigest()
    return hashes


def _digest(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
