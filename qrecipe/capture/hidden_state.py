"""What a model's outputs may depend on that no capture sees: how often it was called, and others' random numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CaptureError
from ..graph.module_copy import module_copy
from ..graph.program import GraphMode
from .own_code import answered

DRAWS = 60
"""Times that a model is run which draws random numbers that are not torch's: what one in ten draws decides is seen."""
LATER = tuple(10**power for power in range(6))
"""How many calls further a count is tried: a model's own schedules begin or end after so many. What lies between, or
reads a number that is no attribute itself, as one in a dict, is not seen."""

Outputs = Callable[[nn.Module], Sequence[Tensor]]
"""Calls a model, always with the same inputs and the same random numbers of torch's."""


@dataclass(frozen=True)
class HiddenState:
    """The states of Python's and numpy's generators, and the numbers among the attributes of a model's modules."""

    generators: tuple[object, ...]
    numbers: dict[tuple[str, str], int | float]


def hidden_state(model: nn.Module) -> HiddenState:
    """As it is now: before a call, to see what the call changes."""
    name, keys, *rest = np.random.get_state()
    return HiddenState((random.getstate(), name, np.asarray(keys).tobytes(), *rest), _numbers(model))


def _numbers(model: nn.Module) -> dict[tuple[str, str], int | float]:
    """By module and attribute."""
    return {
        (path, key): value
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def refuse_hidden_state(before: HiddenState, model: nn.Module, outputs: Outputs, mode: GraphMode) -> None:
    """Of a model that was called since ``before``. It is not changed.

    Raises:
        CaptureError: what the call changed changes what the model computes.
    """
    now = hidden_state(model)
    if now.generators != before.generators and _random_numbers_decide(model, outputs):
        raise CaptureError(
            f"random numbers of Python's or numpy's change what the model computes in {mode} mode: what they decided "
            "in the capture would stay so",
            where=type(model).__name__,
            remedy="draw with torch, as torch.rand(()) in place of random.random(), and choose with torch.where",
        )
    count = _decisive_count(model, outputs) if now.numbers != before.numbers else None
    if count is not None:
        raise CaptureError(
            f"{count} changes with every call, and what the model computes in {mode} mode with it: in the capture it "
            "would stay as it was",
            where=type(model).__name__,
            remedy="set it outside of forward, or keep it as a buffer (register_buffer) and compute with tensors",
        )


def _random_numbers_decide(model: nn.Module, outputs: Outputs) -> bool:
    """Whether other random numbers give other outputs; both generators stay where they were."""
    python, numpys = random.getstate(), np.random.get_state()
    try:
        told = answered(partial(outputs, module_copy(model)))  # a copy: running statistics move
        return any(
            not _same(told, answered(partial(outputs, module_copy(model)))) for _ in range(DRAWS)
        )  # each goes on drawing
    finally:
        random.setstate(python)
        np.random.set_state(numpys)


def _decisive_count(model: nn.Module, outputs: Outputs) -> str | None:
    """The attributes that change with every call and change the outputs, or None.

    A number that stays where the same inputs come again is what the model remembers of them, and no count. One that
    ends the model where it is far ahead is an index or a logarithm, which the model itself keeps in bounds.
    """
    called = module_copy(model)
    told = answered(partial(outputs, called))
    before = _numbers(called)
    if told is None or answered(partial(outputs, called)) is None:
        return None
    now = _numbers(called)
    steps = {
        place: value - before[place]
        for place, value in now.items()
        if place in before and value != before[place] and math.isfinite(value - before[place])
    }
    free: dict[tuple[str, str], float] = {}
    for place, step in steps.items():
        found = [answered(partial(outputs, later)) for later in _later(model, {place: step})]
        if any(other is not None and not _same(told, other) for other in found):
            return _named([place])
        if None not in found:
            free[place] = step
    if len(free) > 1 and any(not _same(told, answered(partial(outputs, later))) for later in _later(model, free)):
        return _named(free)
    return None


def _named(places: Iterable[tuple[str, str]]) -> str:
    return " and ".join(".".join(part for part in place if part) for place in places)


def _later(model: nn.Module, moved: Mapping[tuple[str, str], float]) -> Iterator[nn.Module]:
    """As it would be so many calls later, if each changed these numbers alike."""
    for calls in LATER:
        later = module_copy(model)
        for (path, key), step in moved.items():
            module = later.get_submodule(path)
            setattr(module, key, getattr(module, key) + calls * step)
        yield later


def _same(some: Sequence[Tensor] | None, others: Sequence[Tensor] | None) -> bool:
    """Bit for bit; NaN is like NaN, and an end like an end."""
    if some is None or others is None:
        return some is others
    return len(some) == len(others) and all(
        a.shape == b.shape and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(some, others, strict=True)
    )
