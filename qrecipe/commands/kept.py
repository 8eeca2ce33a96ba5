"""Keeping in a run folder what a command found, so that the run's page shows it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import RunError
from ..experiment.events import Listener, Noted


def kept_in_run(write: Callable[[], None], listener: Listener) -> None:
    """A folder that cannot be written is told of, and the command goes on: what it found it gives anyway."""
    try:
        write()
    except RunError as problem:
        listener(Noted("run", f"warning: not kept for its page: {problem}"))
