"""Choices among places: what a detector takes its queries by, said by one run and told to another.

Two-stage detectors decode the places that score best. A student whose scores differ a little decodes others, so that
its queries and its teacher's have nothing to do with one another. While :func:`told` is in force, a student decodes
what its teacher chose, and queries of one number stand for one place.

Source: KD-DETR (arXiv 2211.08071), section 3.3: student and teacher are distilled at the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ..errors import TrainError

aten = torch.ops.aten

CHOICES = {aten.topk.default, aten.sort.default, aten.argmax.default, aten.argsort.default}
"""Operations whose result is a choice among places: what is compared behind one must have been chosen alike."""
_DIMENSION = {aten.topk.default: 2, aten.sort.default: 1}
"""Which operand says along what the operations choose whose choice can be told: of values, and of their indices."""
_INDEX = 1
"""Of their two results."""


@dataclass
class _Told:
    """What is left to tell, and how many choices were asked for."""

    indices: list[Tensor]
    said: int = 0


_LISTENER: ContextVar[list[Tensor] | None] = ContextVar("listener", default=None)
_TOLD: ContextVar[_Told | None] = ContextVar("told", default=None)


@contextmanager
def said() -> Iterator[list[Tensor]]:
    """While this is in force, the indices that models choose are kept in a list, in the order of their graph."""
    indices: list[Tensor] = []
    token = _LISTENER.set(indices)
    try:
        yield indices
    finally:
        _LISTENER.reset(token)


@contextmanager
def told(indices: list[Tensor]) -> Iterator[None]:
    """While this is in force, a model chooses these indices, one after the other; what it chooses beyond is its own.

    Raises:
        TrainError: it has fewer choices, or chooses so many of so many places that these do not fit.
    """
    state = _Told(list(indices))
    token = _TOLD.set(state)
    try:
        yield
    finally:
        _TOLD.reset(token)
    if state.indices:
        raise TrainError(
            f"the teacher chooses its queries in {len(indices)} steps, the student in {state.said}",
            remedy="choose a teacher of the student's kind, or another match.kind",
        )


class Choosing:
    """A choice as a graph calls it: its own one, unless another is told."""

    def __init__(self, operation: Callable[..., Any], dimension: int) -> None:
        self.operation = operation
        self.dimension = dimension
        self.__name__ = self.__qualname__ = "choosing"
        self.__module__ = __name__

    def __call__(self, scores: Tensor, *operands: Any, **options: Any) -> tuple[Tensor, Tensor]:
        values, own = self.operation(scores, *operands, **options)
        state = _TOLD.get()
        if state is not None and state.indices:
            own = _fitting(state.indices.pop(0), own)
            dimension = operands[self.dimension - 1] if len(operands) >= self.dimension else -1
            values = scores.gather(options.get("dim", dimension), own)
        if state is not None:
            state.said += 1
        listener = _LISTENER.get()
        if listener is not None:
            listener.append(own)
        return values, own


def tell_choices(graph: fx.Graph) -> int:
    """Make the choices of a graph whose indices something reads ones that can be told. Returns how many there are."""
    chosen = [node for node in graph.nodes if node.target in _DIMENSION and _is_read(node)]
    for node in chosen:
        node.target = Choosing(node.target, _DIMENSION[node.target])
    return len(chosen)


def _is_read(node: fx.Node) -> bool:
    return any(user.args[1] == _INDEX and user.users for user in node.users if len(user.args) > 1)


def _fitting(index: Tensor, own: Tensor) -> Tensor:
    if index.shape != own.shape:
        his, mine = (" of ".join(str(size) for size in reversed(one.shape)) for one in (index, own))
        raise TrainError(
            f"the teacher chooses {his} queries, the student {mine}",
            remedy="choose a teacher with as many queries, or another match.kind",
        )
    return index.to(own.device)
