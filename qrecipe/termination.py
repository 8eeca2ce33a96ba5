"""Signals that ask a command to end: Ctrl-C, SIGTERM of a scheduler, SIGHUP of a terminal that is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """A signal was heard.

    at_once: it was the second one, and broke into what :func:`held` keeps whole. remedy: how to go on.
    """

    def __init__(self, number: int, at_once: bool = False) -> None:
        super().__init__(number)
        self.number = number
        self.at_once = at_once
        self.remedy: str | None = None

    def __str__(self) -> str:
        text = "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"
        return f"{text} ({self.remedy})" if self.remedy else text

    @property
    def code(self) -> int:
        """The exit code, as a shell gives it: 128 and the signal's number."""
        return 128 + self.number


class _Ears:
    """What is known of signals in this process: how many ``held`` are around, and which signal waits for their end.

    process: that listens; one that it forks has its handlers until it sets its own.
    """

    process = 0
    holding = 0
    waiting: int | None = None
    patient = False


@contextmanager
def listening() -> Iterator[None]:
    """Signals raise :class:`Terminated` inside; those that are ignored (``nohup``) stay so.

    Elsewhere than in the main thread, where Python hears no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Ears.process = os.getpid()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """What is inside is not broken into: a signal is raised at its end. A second one does not wait.

    Raises:
        Terminated: at the end, where a signal was heard inside and nothing else was raised.
    """
    _Ears.holding += 1
    failed = True
    try:
        yield
        failed = False
    finally:
        _Ears.holding -= 1
        number = _Ears.waiting
        if not _Ears.holding:
            _Ears.waiting = None
            if number is not None and not failed:
                raise Terminated(number)


def heard() -> int | None:
    """The signal that waits for the end of ``held``."""
    return _Ears.waiting


def hear_once(patient: bool = True) -> None:
    """From now on what is held is not broken into by a second signal either: a launcher passes on a terminal's."""
    _Ears.patient = patient


def leave_to_parent(worker: int = 0) -> None:
    """For worker processes: the parent decides when they end, so a signal to the whole group does not take them away.

    SIGTERM, by which the parent itself ends them, does what it does by default.
    """
    with suppress(ValueError):  # a worker that is a thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _hear(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _Ears.process:  # a worker that was forked a moment ago
        leave_to_parent()
        os.kill(os.getpid(), number)
        return
    if _Ears.holding and (_Ears.waiting is None or _Ears.patient):
        _Ears.waiting = number
        return
    _Ears.waiting = None
    raise Terminated(number, at_once=bool(_Ears.holding))
