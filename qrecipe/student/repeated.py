"""What else a part of a graph depends on or changes when it runs: buffers, random numbers, statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

from ..distill import QueryAlignment
from ..graph.flow import within
from ..graph.in_place import base_of, written_by
from ..quantizers import BiasCorrection, Quantizer

aten = torch.ops.aten

_NORMS = {aten.batch_norm.default, aten.instance_norm.default}
"""They write into running statistics, and their schemas do not say so."""
_STATISTICS = slice(3, 5)
"""Which of their operands these are."""


class Buffer(NamedTuple):
    """One buffer as it was. value: a copy."""

    owner: nn.Module
    name: str
    value: Tensor


def changed_by(graph: fx.Graph, called: Collection[str]) -> tuple[str, ...]:
    """Attributes that a graph reads and that may change while it runs: those of modules that are called, as a
    BatchNorm's statistics, those that a call writes into, and statistics that a norm takes as operands.

    Args:
        called: paths of modules, of the whole graph that this one is a part of.
    """
    written = written_by(graph.nodes)
    written |= {
        base_of(operand)
        for node in graph.nodes
        for operand in (node.args[_STATISTICS] if node.target in _NORMS else ())
        if isinstance(operand, fx.Node)
    }
    return tuple(
        str(node.target)
        for node in graph.nodes
        if node.op == "get_attr" and (node in written or any(within(str(node.target), path) for path in called))
    )


def kept(root: nn.Module, modules: Iterable[nn.Module], attributes: Iterable[str]) -> list[Buffer]:
    """The buffers, as they are, that a run of these modules may change, and those among the attributes."""
    changing = (own for module in modules if not _is_pure(module) for own in module.modules())
    places = {(own, name): None for own in changing for name in own._buffers}
    for path in attributes:
        owner, _, name = path.rpartition(".")
        places[root.get_submodule(owner), name] = None
    found = ((owner, name, owner._buffers.get(name)) for owner, name in places)
    return [Buffer(owner, name, value.detach().clone()) for owner, name, value in found if value is not None]


@contextmanager
def put_back(buffers: Iterable[Buffer]) -> Iterator[None]:
    """While it is entered, buffers are what they were; what happens to them meanwhile is lost."""
    now = [(owner, name, owner._buffers[name]) for owner, name, _ in buffers]
    for owner, name, value in buffers:
        owner._buffers[name] = value.clone()
    try:
        yield
    finally:
        for owner, name, own in now:
            owner._buffers[name] = own


def is_observing(module: nn.Module) -> bool:
    """Whether it takes what passes into statistics: a quantizer or an alignment that is being calibrated."""
    return getattr(module, "mode", None) == "observe"


def draws(module: nn.Module) -> bool:
    """Whether a module draws random numbers, or may."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    return not _is_pure(module)


def _is_pure(module: nn.Module) -> bool:
    """Whether what a module gives is a function of what it reads and of its parameters, and it changes nothing.

    That is asked of every quantizer: its copies are made again for the backward pass anyway.
    """
    return isinstance(module, Quantizer | QueryAlignment | BiasCorrection | _DropoutNd)
