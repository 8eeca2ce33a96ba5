"""Flushing denormal floats to zero on the CPU, where arithmetic with them is many times slower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def are_flushed() -> bool:
    """Whether this thread's arithmetic takes denormals for zero."""
    return torch.full((1,), 1e-40).mul(1.0).item() == 0.0


def set_flushed(flush: bool) -> None:
    """Switch it for this thread and torch's worker threads."""
    torch.set_flush_denormal(flush)
    # The switch is a register of the calling thread; setting the number of threads takes it over to the workers.
    torch.set_num_threads(torch.get_num_threads())


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormals are zero inside; outside it is as before."""
    before = are_flushed()
    set_flushed(True)
    try:
        yield
    finally:
        set_flushed(before)
