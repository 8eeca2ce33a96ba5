"""Calls that are watched, beside profilers of the user's."""

from __future__ import annotations

import cProfile
import pstats
import sys
from types import FrameType
from typing import Any

import pytest

from qrecipe.calls import watched_calls


def inside() -> int:
    return 1


def behind() -> int:
    return 2


def watched_failure() -> None:
    with watched_calls(lambda frame: None):
        inside()
        raise ZeroDivisionError


def test_calls_are_told() -> None:
    names: list[str] = []
    with watched_calls(lambda frame: names.append(frame.f_code.co_name)):
        inside()
    behind()
    assert "inside" in names
    assert "behind" not in names


class Called(cProfile.Profile):
    """One that is a decorator too, as line profilers have it."""

    def __call__(self, function: Any) -> Any:
        return function


@pytest.mark.parametrize("kind", [cProfile.Profile, Called])
def test_a_profiler_in_c_goes_on(kind: type[cProfile.Profile]) -> None:
    profiler = kind()
    profiler.enable()
    try:
        with watched_calls(lambda frame: None):
            inside()
        behind()
    finally:
        profiler.disable()
    seen = {name for _, _, name in pstats.Stats(profiler).stats}  # type: ignore[attr-defined]
    assert "behind" in seen


def test_a_profiler_in_python_goes_on() -> None:
    seen: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        seen.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        with pytest.raises(ZeroDivisionError):
            watched_failure()
        behind()
    finally:
        sys.setprofile(None)
    assert "behind" in seen
    assert "inside" not in seen
