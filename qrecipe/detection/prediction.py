"""What a detector predicts for a batch, however its own output is spelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Scores = Literal["softmax", "sigmoid"]
"""How a head scores: a softmax whose last column is no-object, or a sigmoid per class."""


@dataclass(frozen=True)
class Prediction:
    """Logits and boxes of every query.

    logits: (batch, queries, columns): the classes, and last the no-object column where scores are a softmax.
    boxes: (batch, queries, 4), cxcywh in 0..1 of the unpadded image.
    auxiliary: (logits, boxes) of the earlier decoder layers, first to last; only in training.
    """

    logits: Tensor
    boxes: Tensor
    auxiliary: tuple[tuple[Tensor, Tensor], ...] = ()


def best_scores(logits: Tensor, scores: Scores) -> Tensor:
    """The score of each query's best class, in 0..1: (..., queries, columns) to (..., queries)."""
    probabilities = logits.softmax(-1)[..., :-1] if scores == "softmax" else logits.sigmoid()
    return probabilities.amax(-1)
