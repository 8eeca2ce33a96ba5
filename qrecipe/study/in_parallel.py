"""Carrying out the runs of a sweep several at a time, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import RunError
from ..experiment.events import Listener, Noted
from ..run.files import writing
from ..termination import Terminated
from .carry_out import AGAIN, label, tell_rest
from .planned import PlannedRun
from .state import failure_of, keep_failure, state_of

WAIT = 0.2
"""Seconds between two looks at the processes."""
THREADS = "OMP_NUM_THREADS"


def carry_out_in_parallel(
    runs: Sequence[PlannedRun], jobs: int, command: Callable[[PlannedRun], Sequence[str]], listener: Listener
) -> None:
    """As :func:`carry_out`, ``jobs`` at a time. What a run prints is beside its folder: ``NAME.log``.

    The cores are shared out: each process has as many threads as it has cores, unless ``OMP_NUM_THREADS`` is set.

    Args:
        command: words after ``python -m qrecipe`` that do one run.

    Raises:
        Terminated: a signal was heard and passed on; every run that was under way has kept where it was.
    """
    waiting = [run for run in runs if state_of(run).state != "done"]
    for run in runs:
        if run not in waiting:
            listener(Noted("sweep", f"{label(run, runs)}: done already", progress=True))
    working: dict[subprocess.Popen[bytes], PlannedRun] = {}
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                run = waiting.pop(0)
                listener(Noted("sweep", f"{label(run, runs)}: begins; what it says is in {log_of(run)}", progress=True))
                working[_started(run, command(run), jobs)] = run
            for process in [process for process in working if process.poll() is not None]:
                run = working.pop(process)
                _tell_end(run, process.returncode, runs, listener)
                tell_rest([state_of(one) for one in runs], jobs, listener)
            time.sleep(WAIT)
    except Terminated as signal:
        for process in working:
            process.terminate()
        for process in working:
            process.wait()
        working.clear()
        signal.remedy = AGAIN
        raise
    finally:
        for process in working:
            with suppress(OSError):
                process.kill()


def log_of(run: PlannedRun) -> Path:
    """What a process of its own prints."""
    return run.folder.with_name(f"{run.folder.name}.log")


def threads_of(jobs: int) -> int:
    """Threads of each of so many processes."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def _started(run: PlannedRun, words: Sequence[str], jobs: int) -> subprocess.Popen[bytes]:
    """In a session of its own: of a terminal's Ctrl-C this process hears first, and passes it on."""
    path = log_of(run)
    environment = {THREADS: str(threads_of(jobs)), **os.environ}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "qrecipe", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )


def _tell_end(run: PlannedRun, code: int, runs: Sequence[PlannedRun], listener: Listener) -> None:
    """Say how it ended; of a process that could not say why, keep that."""
    if state_of(run).state == "done":
        listener(Noted("sweep", f"{label(run, runs)}: done", progress=True))
        return
    message = failure_of(run)
    if message is None:
        how = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        message = keep_failure(run, RunError(f"its process {how}", where=str(log_of(run))))
    listener(Noted("sweep", f"{label(run, runs)} failed: {message}"))
