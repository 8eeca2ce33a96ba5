"""How far the runs of a sweep are, by what lies in their folders."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from ..errors import QRecipeError, RecipeErrors, RunError
from ..run.files import read_json, write_json, writing
from ..run.folder import RunFolder
from ..run.layout import SUMMARY, is_finished, is_run
from ..run.summary import Summary
from .planned import PlannedRun

State = Literal["to do", "interrupted", "done", "failed"]


@dataclass(frozen=True)
class RunState:
    """One run of a sweep. message: why it failed. seconds: that it took, where it went through in one start."""

    run: PlannedRun
    state: State
    message: str | None = None
    summary: Summary | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        run = self.run
        return {
            "number": run.number,
            "name": run.name,
            "group": run.group,
            "seed": run.seed,
            "folder": str(run.folder),
            "changes": dict(run.changes),
            "state": self.state,
            "message": self.message,
            "seconds": self.seconds,
            "summary": None if self.summary is None else self.summary.to_dict(),
        }


def state_of(run: PlannedRun) -> RunState:
    """Raises: RunError: what is in its folder cannot be read."""
    if is_run(run.folder) and is_finished(run.folder):
        return RunState(run, "done", None, RunFolder.read(run.folder).summary(), seconds_of(run.folder))
    message = failure_of(run)
    if message is not None:
        return RunState(run, "failed", message)
    return RunState(run, "interrupted" if is_run(run.folder) else "to do")


def check_folders(runs: Sequence[PlannedRun]) -> None:
    """Raises: RunError: a folder holds the run of another recipe, or something else; RecipeErrors: several do."""
    problems: list[QRecipeError] = []
    for run in runs:
        try:
            if is_run(run.folder):
                RunFolder.check_resumable(run.folder, run.recipe.resolved)
            else:
                RunFolder.check_free(run.folder)
        except RunError as problem:
            problems.append(problem)
    if problems:
        raise problems[0] if len(problems) == 1 else RecipeErrors(problems)


def seconds_of(folder: Path) -> float | None:
    """From the start of a finished run to its summary; None where it was not one start."""
    starts = RunFolder.read(folder).starts()
    if len(starts) != 1:
        return None
    try:
        began = datetime.fromisoformat(starts[0]["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, (folder / SUMMARY).stat().st_mtime - began)


def seconds_left(states: Sequence[RunState], jobs: int) -> float | None:
    """For those that are not done, as long as the median of those that are; None where that is not known.

    An interrupted run counts as a whole one.
    """
    known = [state.seconds for state in states if state.seconds is not None]
    left = sum(state.state != "done" for state in states)
    return median(known) * -(-left // jobs) if known else None


def keep_failure(run: PlannedRun, error: BaseException) -> str:
    """Write down why a run failed, beside its folder; returns the message.

    Raises: RunError: it cannot be written.
    """
    own = isinstance(error, QRecipeError)
    message = str(error) if own else f"a fault of qrecipe's own: {type(error).__name__}: {error}"
    trace = None if own else "".join(traceback.format_exception(error))
    path = _failure(run)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"message": message, "traceback": trace})
    return message


def forget_failure(run: PlannedRun) -> None:
    """It is tried again. Raises: RunError: the file cannot be removed."""
    path = _failure(run)
    with writing(path):
        path.unlink(missing_ok=True)


def failure_of(run: PlannedRun) -> str | None:
    """Why it failed last; None where it did not."""
    path = _failure(run)
    return str(read_json(path)["message"]) if path.exists() else None


def _failure(run: PlannedRun) -> Path:
    return run.folder.with_name(f"{run.folder.name}.failed.json")
