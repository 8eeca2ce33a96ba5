"""How sure a difference is: paired over seeds, or by resampling the images of a single pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Literal

import numpy as np

from ..evaluation.matches import ImageMatches

CONFIDENCE = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Difference:
    """A difference of AP, and the interval that holds the true one with ``confidence``.

    over: what varies: the seed of ``count`` pairs of runs, or the ``count`` images of one pair. low, high: None of a
    single pair without its images.
    """

    mean: float
    low: float | None
    high: float | None
    count: int
    over: Literal["seeds", "images"]
    confidence: float = CONFIDENCE

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired(differences: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Student's t over paired differences: of runs that share a seed, and all that comes of it.

    Raises:
        ValueError: there is none.
    """
    mean, count = fmean(differences), len(differences)
    if count < 2:
        return Difference(mean, None, None, count, "seeds", confidence)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * stdev(differences) / math.sqrt(count)
    return Difference(mean, mean - half, mean + half, count, "seeds", confidence)


def bootstrap(
    one: ImageMatches,
    other: ImageMatches,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Difference | None:
    """AP of ``one`` less AP of ``other``, with percentiles over samples of the images, drawn with replacement.

    Both are scored on the same sample each time, always the same samples. None where nothing is to be found.

    Raises:
        ValueError: they are not of the same images and boxes.
    """
    if not (np.array_equal(one.images, other.images) and np.array_equal(one.boxes, other.boxes)):
        raise ValueError("these are matches of other images or boxes")
    whole = _difference(one.AP(), other.AP())
    if whole is None:
        return None
    count = len(one.images)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=resamples)
    found = [value for draw in draws if (value := _difference(one.AP(draw), other.AP(draw))) is not None]
    low, high = np.quantile(found, (0.5 - confidence / 2, 0.5 + confidence / 2))
    return Difference(whole, float(low), float(high), count, "images", confidence)


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
