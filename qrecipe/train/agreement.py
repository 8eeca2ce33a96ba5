"""All processes of a training end at the same step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..processes import count, gathered
from ..termination import Terminated, heard, held


@contextmanager
def ending_together() -> Iterator[None]:
    """Where several processes train, a signal to one of them waits for :func:`agree_to_end`, or for the end of this."""
    if count() == 1:
        yield
        return
    with held():
        yield
        agree_to_end()


def agree_to_end() -> None:
    """Raises in all processes what one of them has heard. Every process must call it.

    Raises: Terminated: a signal. ProcessError: another process is gone.
    """
    if count() > 1:
        number = max(signal or 0 for signal in gathered(heard()))
        if number:
            raise Terminated(number)
