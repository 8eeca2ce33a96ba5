"""How the weight of a distillation target goes to zero: a function of how much of training is over."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Anneal = Literal["linear", "cosine"]


def remaining(anneal: Anneal | None, over: float) -> float:
    """The share of its weight that a target has left.

    Args:
        anneal: None keeps all of it. over: the share of training that is over, in 0..1.
    """
    return 1.0 if anneal is None else ANNEALS[anneal](over)


def _linear(over: float) -> float:
    return 1 - over


def _cosine(over: float) -> float:
    """Half a cosine: slow at both ends."""
    return (1 + math.cos(math.pi * over)) / 2


ANNEALS: dict[Anneal, Callable[[float], float]] = {"linear": _linear, "cosine": _cosine}
"""A row per ``anneal``."""
