"""Watches the Python functions that are called for a while, beside a profiler that may be at work already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def watched_calls(on_call: Callable[[FrameType], None]) -> Iterator[None]:
    """``on_call`` is told each call of a Python function inside, in this thread.

    A profiler of before sees none of them, and goes on afterwards.
    """

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            on_call(frame)

    before: Any = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        by_function = before is None or callable(before)
        sys.setprofile(before if by_function else None)
        if not by_function:  # cProfile's, which is in that place as an object
            before.enable()
