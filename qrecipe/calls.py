"""Watches the Python functions that are called for a while, beside a profiler that may be at work already."""

from __future__ import annotations

import _lsprof
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def watched_calls(on_call: Callable[[FrameType], None]) -> Iterator[None]:
    """``on_call`` is told each call of a Python function inside, in this thread; a profiler of before goes on then."""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            on_call(frame)

    before: Any = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        in_c = isinstance(before, _lsprof.Profiler)  # cProfile's, which stands there as an object until Python 3.12
        sys.setprofile(None if in_c or not callable(before) else before)
        if in_c:
            before.enable()
