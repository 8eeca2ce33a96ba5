"""Time left, from the time that the steps so far took, evaluations included."""

from __future__ import annotations

import time


class Clock:
    """epochs: that are still to come. finished: before them. steps: in an epoch."""

    def __init__(self, epochs: int, finished: int, steps: int) -> None:
        self.epochs, self.finished, self.steps = epochs, finished, steps
        self._began = time.perf_counter()

    def seconds_left(self, epoch: int, step: int) -> float:
        """After a step of an epoch, both from 1."""
        done = (epoch - 1 - self.finished) * self.steps + step
        return (time.perf_counter() - self._began) / done * (self.epochs * self.steps - done)
