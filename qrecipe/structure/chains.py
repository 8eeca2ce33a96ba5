"""Channels whose scale is nobody's business: what one operation gives and others take, with nothing else between.

What gives such channels can be divided by positive scales, channel by channel, and the weights that read them
multiplied: the model computes what it did. Found on parameters, over both programs: whatever reads one of a chain's
tensors must be part of the chain, so that tied and shared parameters are left alone where they would not fit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from ..graph.program import Program
from ..graph.shapes import shape_of
from ..vocabulary import DROPOUTS
from .norms import is_norm
from .operands import OPERATORS, Slot

aten = torch.ops.aten
ChainKind = Literal["weights", "norm"]

# f(s x) = s f(x) for every s > 0, channel by channel, whatever the channels' dimension.
_HOMOGENEOUS = {
    aten.relu.default,
    aten.relu_.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
    aten.dropout.default,
}
# The same for features whose channels are dimension 1, and for those whose channels are the last one.
_OF_MAPS = {
    aten.max_pool2d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
}
_OF_TOKENS = {
    aten.view.default,
    aten.reshape.default,
    aten.permute.default,
    aten.transpose.int,
    aten.slice.Tensor,
    aten.roll.default,
}


@dataclass(frozen=True)
class ChainReader:
    """A weight that multiplies a chain's channels, which are its dimension 1 times the groups of its convolution.

    site: the weight's. norm: the BatchNorm behind its layers, "" where there is none.
    """

    weight: str
    site: str
    groups: int
    norm: str


@dataclass(frozen=True)
class Chain:
    """One chain.

    kind: ``weights`` begins at a convolution or a linear layer, ``norm`` at a LayerNorm.
    source: the first one's weight. norm: the BatchNorm behind it, "" where there is none.
    divided: the tensors that are divided by the scales, their channels in dimension 0. readers: what is multiplied.
    sites: of the first weight, of the readers' weights and of what they multiply.
    """

    kind: ChainKind
    source: str
    norm: str
    channels: int
    divided: tuple[str, ...]
    readers: tuple[ChainReader, ...]
    sites: tuple[str, ...]


Sites = Mapping[fx.Node, Mapping[Slot, str]]


@dataclass
class _Readers:
    """Of every tensor by its first name: the nodes that read it. names: every name to the first. sites: of nodes."""

    sites: Sites
    nodes: dict[str, set[fx.Node]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def of(self, path: str) -> set[fx.Node]:
        return self.nodes.get(self.names.get(path, path), set())


def find_chains(
    root: nn.Module, programs: Mapping[Any, Program], sites: Sites, held: Collection[fx.Node] = ()
) -> tuple[Chain, ...]:
    """Every chain of both programs, in the order of the training program.

    Args:
        sites: of every operation, by where each operand stands.
        held: nodes whose values are looked at from outside: no chain goes through them.
    """
    readers = _readers(root, programs, sites)
    found: dict[str, Chain | None] = {}
    for program in programs.values():
        for node in program.graph.nodes:
            source = _source(node)
            if source is not None and (name := readers.names.get(source, source)) not in found:
                found[name] = _chain(root, name, readers, set(held))
    return tuple(chain for chain in found.values() if chain is not None)


def _readers(root: nn.Module, programs: Mapping[Any, Program], sites: Sites) -> _Readers:
    first: dict[int, str] = {}
    found = _Readers(sites)
    tensors: list[tuple[str, Tensor]] = [
        *root.named_parameters(remove_duplicate=False),
        *root.named_buffers(remove_duplicate=False),
    ]
    for name, value in tensors:
        found.names[name] = first.setdefault(value.untyped_storage().data_ptr(), name)
    for program in programs.values():
        for node in program.graph.nodes:
            if node.op == "get_attr":
                found.nodes.setdefault(found.names.get(str(node.target), str(node.target)), set()).update(node.users)
            elif node.op == "call_module":
                module = root.get_submodule(str(node.target))
                for name, _ in (*module.named_parameters(), *module.named_buffers()):
                    path = f"{node.target}.{name}"
                    found.nodes.setdefault(found.names.get(path, path), set()).add(node)
    return found


def _source(node: fx.Node) -> str | None:
    """The weight of an operation that a chain may begin with."""
    if OPERATORS.get(node.target) in ("conv", "linear"):
        return _attribute(node, 1)
    return _attribute(node, 2) if node.target is aten.layer_norm.default else None


def _attribute(node: fx.Node, place: int) -> str | None:
    value = node.args[place] if len(node.args) > place else None
    return str(value.target) if isinstance(value, fx.Node) and value.op == "get_attr" else None


def _chain(root: nn.Module, source: str, readers: _Readers, held: set[fx.Node]) -> Chain | None:
    """The chain that begins with a weight, over everything that reads it; None where something forbids it."""
    beginnings = readers.of(source)
    operators = {OPERATORS.get(node.target, "norm") for node in beginnings}
    if len(operators) != 1 or any(readers.names.get(_source(node) or "") != source for node in beginnings):
        return None
    (operator,) = operators
    made = {_divided(root, node) for node in beginnings}
    if len(made) != 1 or None in made:
        return None
    ((divided, norm),) = (one for one in made if one is not None)
    ends: set[fx.Node] = set()
    for node in beginnings:
        reached = set(_ends(_behind(root, node), "conv" if operator == "conv" else "linear", held))
        if None in reached or not reached:
            return None
        ends |= {end for end in reached if end is not None}
    behind = {_behind(root, node) for node in beginnings}
    if any(readers.of(name) - beginnings - behind for name in divided):
        return None
    weight = _tensor(root, source)
    channels = weight.shape[0]
    taking = _taking(root, ends, readers, channels)
    if taking is None or source in {reader.weight for reader in taking}:
        return None
    kind: ChainKind = "norm" if operator == "norm" else "weights"
    operands = [readers.sites.get(node, {}) for node in sorted(beginnings | ends, key=lambda node: node.name)]
    concerned = [own[1] for own in operands if 1 in own] + [readers.sites.get(end, {}).get(0, "") for end in ends]
    return Chain(kind, source, norm, channels, divided, taking, tuple(sorted({*concerned} - {""})))


def _divided(root: nn.Module, node: fx.Node) -> tuple[tuple[str, ...], str] | None:
    """What is divided where a chain begins with this node, and the BatchNorm behind it; None where nothing can be."""
    if node.target is aten.layer_norm.default:
        names = [_attribute(node, 2), _attribute(node, 3)]
        one_axis = isinstance(node.args[1], list | tuple) and len(node.args[1]) == 1
        if not one_axis or any(name is None for name in names):
            return None
        return tuple(str(name) for name in names), ""
    behind = _behind(root, node)
    if behind is not node:
        path = str(behind.target)
        module = root.get_submodule(path)
        own = {name for name, value in (*module.named_parameters(), *module.named_buffers()) if value is not None}
        return ((f"{path}.weight", f"{path}.bias"), path) if {"weight", "bias"} <= own else None
    names = [_attribute(node, 1)]
    if len(node.args) > 2 and node.args[2] is not None:
        names.append(_attribute(node, 2))
    return None if any(name is None for name in names) else (tuple(str(name) for name in names), "")


def _behind(root: nn.Module, node: fx.Node) -> fx.Node:
    """The BatchNorm that alone reads an operation, else the operation itself."""
    users = list(node.users)
    return users[0] if len(users) == 1 and is_norm(root, users[0]) and OPERATORS.get(node.target) == "conv" else node


def _ends(node: fx.Node, operator: str, held: set[fx.Node]) -> Iterator[fx.Node | None]:
    """The operations that read a value's channels, through what leaves their scales alone; None for any other end."""
    if node in held or not node.users:
        yield None
        return
    for user in node.users:
        if user.args[:1] != (node,) or user.all_input_nodes.count(node) != 1:
            yield None
        elif OPERATORS.get(user.target) == operator:
            yield user
        elif _passes(user, node, operator):
            yield from _ends(user, operator, held)
        else:
            yield None


def _passes(user: fx.Node, node: fx.Node, operator: str) -> bool:
    if user.op == "call_module":
        return str(user.target).startswith(f"{DROPOUTS}.")
    if user.target in _HOMOGENEOUS:
        return True
    if operator == "conv":
        return user.target in _OF_MAPS
    return user.target in _OF_TOKENS and _keeps_last(user, node)


def _keeps_last(user: fx.Node, node: fx.Node) -> bool:
    """Whether a call leaves the last dimension whole and where it is."""
    before, after = shape_of(node), shape_of(user)
    if not before or not after or before[-1] != after[-1]:
        return False
    last = {len(before) - 1, -1}
    if user.target is aten.permute.default:
        order = user.args[1]
        return isinstance(order, list | tuple) and order[-1] in last
    if user.target is aten.transpose.int:
        return not last & set(user.args[1:3])
    if user.target is aten.slice.Tensor:
        return len(user.args) > 1 and user.args[1] not in last
    if user.target is aten.roll.default:
        moved = user.args[2] if len(user.args) > 2 else None
        return isinstance(moved, list | tuple) and bool(moved) and not last & set(moved)
    return True  # view and reshape: the last dimension's size is the same, so rows stay rows


def _taking(root: nn.Module, ends: set[fx.Node], readers: _Readers, channels: int) -> tuple[ChainReader, ...] | None:
    """What reads the channels; None where a weight is read outside of the chain, or does not fit."""
    found: dict[str, ChainReader] = {}
    for end in sorted(ends, key=lambda node: node.name):
        path = _attribute(end, 1)
        if path is None:
            return None
        name = readers.names.get(path, path)
        behind = _behind(root, end)
        norm = str(behind.target) if behind is not end else ""
        groups = int(str(end.args[6])) if OPERATORS[end.target] == "conv" and len(end.args) > 6 else 1
        if readers.of(name) - ends or _tensor(root, name).shape[1] * groups != channels:
            return None
        before = found.get(name)
        if before is not None and (before.groups, before.norm) != (groups, norm):
            return None
        found[name] = ChainReader(name, readers.sites.get(end, {}).get(1, name), groups, norm)
    return tuple(found.values())


def _tensor(root: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value: Tensor = getattr(root.get_submodule(owner), name)
    return value
