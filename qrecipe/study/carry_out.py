"""Carrying out the runs of a sweep one after another in this process: what is done is skipped, what failed is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..experiment.events import Listener, Noted
from ..run.layout import is_run
from ..termination import Terminated
from .planned import PlannedRun
from .state import RunState, forget_failure, keep_failure, seconds_left, state_of

AGAIN = "the same command goes on where it was"

RunOne = Callable[[PlannedRun, bool], object]
"""Does one run; the second argument says whether it goes on with what is in its folder."""


def carry_out(runs: Sequence[PlannedRun], run_one: RunOne, listener: Listener) -> None:
    """Do all runs that are not done. One that fails does not end the others: why is kept beside its folder.

    Raises:
        Terminated: a signal was heard; the run that was under way can be resumed, and is by the next call.
    """
    for run in runs:
        state = state_of(run)
        if state.state == "done":
            listener(Noted("sweep", f"{label(run, runs)}: done already", progress=True))
            continue
        going_on = is_run(run.folder)
        listener(Noted("sweep", f"{label(run, runs)}{': goes on' if going_on else ''}", progress=True))
        forget_failure(run)
        try:
            run_one(run, going_on)
        except Terminated as signal:
            signal.remedy = AGAIN
            raise
        except BrokenPipeError:
            raise  # nobody reads what is said
        except Exception as error:
            listener(Noted("sweep", f"{label(run, runs)} failed: {keep_failure(run, error)}"))
        tell_rest([state_of(one) for one in runs], 1, listener)


def label(run: PlannedRun, runs: Sequence[PlannedRun]) -> str:
    """``run 3 (both, 4-4-8 seed 0)``."""
    return f"run {run.number} of {max(one.number for one in runs)} ({run.name})"


def tell_rest(states: Sequence[RunState], jobs: int, listener: Listener) -> None:
    """How many are done, and how long the others may take."""
    done = sum(state.state == "done" for state in states)
    left = seconds_left([state for state in states if state.state != "failed"], jobs)
    if done < len(states) and left is not None:
        text = f"about {round(left / 60)} min left" if left >= 90 else f"about {round(left)} s left"
        listener(Noted("sweep", f"{done} of {len(states)} runs are done, {text}", progress=True))
