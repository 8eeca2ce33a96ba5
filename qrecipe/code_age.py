"""Since when the modules of this process are as they are: whether the files on disk are still the code that runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

_SINCE: dict[str, float] = {}
"""By module, a time before it was loaded."""


@contextmanager
def noting_loads() -> Iterator[None]:
    """The modules that are loaded inside are known to be no older than now."""
    before, start = set(sys.modules), time.time()
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            _SINCE[name] = start


def loaded_after(module: ModuleType) -> float:
    """A time, in seconds of the clock, after which a module was loaded: the start of the process if no later one is
    known. A file that changed since may not be what runs."""
    return _SINCE.get(module.__name__) or _start_of_process()


@cache
def _start_of_process() -> float:
    import psutil

    found: float = psutil.Process().create_time()
    return found
