"""Calls of a model's own code, which may end in whatever way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..termination import Terminated

Given = TypeVar("Given")


def answered(run: Callable[[], Given]) -> Given | None:
    """What it gives; None where it ends instead, in an error, by SystemExit or however else its author wrote it."""
    try:
        return run()
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException:
        return None
