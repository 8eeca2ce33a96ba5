"""``qrecipe sweep``: a base recipe with everything that is varied in it, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..experiment.events import Listener, nobody
from ..launched import processes
from ..recipe.sweep_file import read_sweep
from ..run.layout import RUNS
from ..study.carry_out import carry_out
from ..study.fitting import check_plans
from ..study.in_parallel import carry_out_in_parallel
from ..study.planned import PlannedRun, chosen, planned_runs
from ..study.state import RunState, check_folders, seconds_left, state_of
from .apply import apply


@dataclass(frozen=True)
class Swept:
    """A sweep's runs and how far they are. left: seconds for what is to do, as far as that can be judged."""

    path: Path
    folder: Path
    runs: tuple[RunState, ...]
    left: float | None = None

    @property
    def failed(self) -> tuple[RunState, ...]:
        """Those that could not be done."""
        return tuple(run for run in self.runs if run.state == "failed")

    def to_dict(self) -> dict[str, Any]:
        return {
            "sweep": str(self.path),
            "folder": str(self.folder),
            "runs": [run.to_dict() for run in self.runs],
            "seconds_left": self.left,
        }


def sweep(
    path: Path | str,
    output: Path | str | None = None,
    *,
    dry_run: bool = False,
    run: str | int | None = None,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Swept:
    """Run a sweep: every combination of its axes with every seed, each ``apply`` in a folder of its own.

    All recipes, plans and folders are checked before the first run begins. Runs that are done are skipped, those that
    were cut off go on, and one that fails does not end the others: why is in the result, and the next call tries it
    again.

    Args:
        path: the sweep file. output: the folder of all runs; by default the file's ``output``, else ``runs/NAME``.
        dry_run: run nothing, and return what there is to do.
        run: one of them alone, by its number from 1 or its name: for a job of an array.
        jobs: so many at a time, each in a process of its own.
        overrides: such as ``train.epochs=1``, of every run. random_weights: leave the recipes' weights out.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        RecipeErrors: everything that is wrong with the file or any of its recipes, or does not fit their models.
        RunError: a folder holds the run of another recipe, or something else.
    """
    if processes() > 1:
        remedy = "start it without the launcher, and its runs one by one with --run"
        raise RunError("a sweep is carried out by one process", where=str(path), remedy=remedy)
    path = Path(path)
    read = read_sweep(path)
    folder = Path(output or read.output or RUNS / path.stem).resolve()
    runs = chosen(planned_runs(read, folder, overrides, random_weights), run)
    check_folders(runs)
    if dry_run:
        return _swept(path, folder, runs, jobs)
    check_plans([planned for planned in runs if state_of(planned).state != "done"], cache, listener)

    def one(planned: PlannedRun, resume: bool) -> None:
        apply(planned.recipe, planned.folder, resume=resume, cache=cache, listener=listener)

    def command(planned: PlannedRun) -> list[str]:
        words = ["sweep", str(path), "--output", str(folder), f"--run={planned.number}"]
        words += [word for text in overrides for word in ("--set", text)]
        words += ["--random-weights"] if random_weights else []
        return [*words, *([] if cache else ["--no-cache"])]

    if jobs > 1 and len(runs) > 1:
        carry_out_in_parallel(runs, jobs, command, listener)
    else:
        carry_out(runs, one, listener)
    return _swept(path, folder, runs, jobs)


def _swept(path: Path, folder: Path, runs: Sequence[PlannedRun], jobs: int) -> Swept:
    states = tuple(state_of(planned) for planned in runs)
    return Swept(path, folder, states, seconds_left(states, jobs))
