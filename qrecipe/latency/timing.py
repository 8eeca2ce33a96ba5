"""Latencies of several programs, interleaved: what else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

WARM = 2
"""Calls of each that are not counted: runtimes prepare weights and memory at the first."""


@dataclass(frozen=True)
class Latency:
    """Seconds of one call: the middle one, and where the middle half of all lies."""

    median: float
    lower: float
    upper: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency:
        if len(seconds) < 2:
            return Latency(seconds[0], seconds[0], seconds[0])
        lower, _, upper = quantiles(seconds, n=4, method="inclusive")
        return Latency(median(seconds), lower, upper)


def interleaved(
    calls: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[Latency]:
    """Time every call once a round, in the order given; the rounds follow each other."""
    for call in calls:
        for _ in range(WARM):
            call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, own in zip(calls, seconds, strict=True):
            start = clock()
            call()
            own.append(clock() - start)
    return [Latency.of(own) for own in seconds]
