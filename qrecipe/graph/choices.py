"""Choices among places: what a detector takes its queries by, said by one run and told to another.

Two-stage detectors decode the places that score best. A student whose scores differ a little decodes others, so that
its queries and its teacher's have nothing to do with one another. While :func:`told` is in force, a student decodes
what its teacher chose, and queries of one number stand for one place.

Source: KD-DETR (arXiv 2211.08071), section 3.3: student and teacher are distilled at the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from ..errors import TrainError

aten = torch.ops.aten

_DIMENSION = {
    aten.topk.default: 2,
    aten.sort.default: 1,
    aten.sort.stable: 1,
    aten.argsort.default: 1,
    aten.argsort.stable: 1,
}
"""Which operand says along what the operations choose whose choice can be told."""
CHOICES = {*_DIMENSION, aten.argmax.default}
"""Operations whose result is a choice among places: what is compared behind one must have been chosen alike."""
_INDEX = 1
"""Of two results, values and their indices."""
_ALONE = {aten.argsort.default, aten.argsort.stable}
"""Operations that give the indices alone."""
_WHERE = "distill.targets"


class Choice(NamedTuple):
    """What was chosen (indices, with the dimensions of the scores), and among how many places."""

    indices: Tensor
    places: int


@dataclass
class _Told:
    """What is left to tell, and how many choices were asked for."""

    choices: list[Choice]
    asked: int = 0


_LISTENER: ContextVar[list[Choice] | None] = ContextVar("listener", default=None)
_TOLD: ContextVar[_Told | None] = ContextVar("told", default=None)


@contextmanager
def said() -> Iterator[list[Choice]]:
    """While this is in force, what models choose is kept in a list, in their graph's order; in those around too."""
    choices: list[Choice] = []
    around = _LISTENER.get()
    token = _LISTENER.set(choices)
    try:
        yield choices
    finally:
        _LISTENER.reset(token)
        if around is not None:
            around += choices


@contextmanager
def told(choices: Sequence[Choice]) -> Iterator[None]:
    """While this is in force, a model chooses these, one after the other; what it chooses beyond is its own.

    Raises:
        TrainError: it has fewer choices, or chooses another number, or among others; or it chooses, and none are told.
    """
    state = _Told(list(choices))
    token = _TOLD.set(state)
    try:
        yield
    finally:
        _TOLD.reset(token)
    if state.choices or (state.asked and not choices):
        raise TrainError(
            f"the teacher chooses its queries in {_times(len(choices))}, the student in {_times(state.asked)}",
            where=_WHERE,
            remedy="choose a teacher of the student's kind, or another match.kind",
        )


def _times(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


class Choosing:
    """A choice as a graph calls it: its own one, unless another is told."""

    def __init__(self, operation: Callable[..., Any], dimension: int) -> None:
        self.operation = operation
        self.dimension = dimension
        self.__name__ = self.__qualname__ = "choosing"
        self.__module__ = __name__

    def __call__(self, scores: Tensor, *operands: Any, **options: Any) -> Any:
        if torch.compiler.is_compiling():  # it traces no context variable: a compiled student chooses for itself
            return self.operation(scores, *operands, **options)
        with torch.no_grad():  # what is kept for a backward pass is the same, told or not
            found = self.operation(scores, *operands, **options)
        alone = isinstance(found, Tensor)
        own = found if alone else found[_INDEX]
        dimension = operands[self.dimension - 1] if len(operands) >= self.dimension else options.get("dim", -1)
        places = scores.shape[dimension]
        state, listener = _TOLD.get(), _LISTENER.get()
        if state is not None:
            state.asked += 1
            if state.choices:
                own = _fitting(state.choices.pop(0), Choice(own, places), dimension)
        if listener is not None:
            listener.append(Choice(own, places))
        return own if alone else (scores.gather(dimension, own), own)


def tell_choices(graph: fx.Graph) -> int:
    """Make the choices of a graph whose indices something reads ones that can be told. Returns how many there are."""
    chosen = [node for node in graph.nodes if node.target in _DIMENSION and _is_read(node)]
    for node in chosen:
        node.target = Choosing(node.target, _DIMENSION[node.target])
    return len(chosen)


def _is_read(node: fx.Node) -> bool:
    if node.target in _ALONE:
        return bool(node.users)
    return any(user.args[1] == _INDEX and user.users for user in node.users if len(user.args) > 1)


def _fitting(his: Choice, mine: Choice, dimension: int) -> Tensor:
    counts = [f"{one.indices.shape[dimension]} of {one.places} places" for one in (his, mine)]
    if counts[0] != counts[1]:
        raise TrainError(
            f"the teacher chooses {counts[0]}, the student {counts[1]}",
            where=_WHERE,
            remedy="choose a teacher with as many queries and the same strides, or another match.kind",
        )
    return his.indices.to(mine.indices.device)
