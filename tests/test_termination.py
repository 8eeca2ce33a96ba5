"""Signals reach the process that listens; one that it has just forked ends as if it had never listened."""

from __future__ import annotations

import os
import signal
import time

import pytest

from qrecipe.termination import Terminated, listening

pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


def forked() -> int:
    """A child that has this process's handlers, and exits with 1 where one of them raises.

    It is running: Python forgets signals that reach a child before that.
    """
    running, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(says, b"!")
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(says)
    os.read(running, 1)
    os.close(running)
    return child


def ended_by(child: int) -> int:
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def test_a_process_that_was_just_forked_ends_by_sigterm() -> None:
    with listening():
        child = forked()
        os.kill(child, signal.SIGTERM)
        assert ended_by(child) == signal.SIGTERM


def test_it_leaves_an_interrupt_to_its_parent() -> None:
    with listening():
        child = forked()
        os.kill(child, signal.SIGINT)
        time.sleep(0.2)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.kill(child, signal.SIGTERM)
        assert ended_by(child) == signal.SIGTERM


def test_the_process_itself_hears() -> None:
    with listening(), pytest.raises(Terminated) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM
