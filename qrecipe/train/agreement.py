"""All processes of a training end at the same step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError, QRecipeError
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


def is_between_steps(error: Terminated | QRecipeError, trained: bool) -> bool:
    """Whether all processes hold the weights of a whole step, which can be kept, when an epoch ends by an error.

    trained: whether its last step was taken. An image that cannot be read comes before a step; of several processes
    one alone has it.
    """
    if isinstance(error, Terminated):
        return not error.at_once
    return count() == 1 and (trained or isinstance(error, DataError))
