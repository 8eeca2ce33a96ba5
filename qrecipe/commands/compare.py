"""``qrecipe compare``: finished runs beside one another, with what is chance in their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..report.page.compared import write_compared
from ..run.files import require_free
from ..run.summary import ROWS
from ..study.compared import Table, tables_of
from ..study.finished import read_runs
from ..study.statistics import CONFIDENCE
from ..suggestions import hint


@dataclass(frozen=True)
class Compared:
    """A table for each kind of data that the runs are scored on. notes: what was left out, and why.

    path: the page, where one was asked for.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    path: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "tables": [table.to_dict() for table in self.tables],
            "notes": list(self.notes),
            "path": None if self.path is None else str(self.path),
        }


def compare(
    runs: Sequence[Path | str],
    *,
    baseline: str | None = None,
    model: str | None = None,
    confidence: float = CONFIDENCE,
    html: Path | str | None = None,
) -> Compared:
    """Compare finished runs: those that differ by seed alone are a group, and groups stand against a baseline.

    A difference is paired over the seeds that both have, with Student's t; of a single pair of runs the interval is
    a bootstrap over images. Each interval is for itself: of many, some leave 0 out by chance.

    Args:
        runs: run folders, or folders of sweeps in place of the runs in them.
        baseline: the name of a group, by default the first; or a part of names, as ``lsq+`` of ``lsq+, 4-4-8``, which
            each group is compared with in its own place.
        model: the row of the summaries to judge by, such as ``calibrated``; by default the last of each run.
        confidence: of the intervals, between 0 and 1. html: a new file, the comparison as a page.

    Raises:
        RunError: a folder holds no finished run, no group is called so, or the page cannot be written.
    """
    if not 0 < confidence < 1:
        raise RunError(f"{confidence:g} is no confidence", where="--confidence", remedy="between 0 and 1, as 0.95")
    if model is not None and model not in ROWS:
        remedy = f"{hint(model, ROWS)}it is one of {', '.join(ROWS)}"
        raise RunError(f"{model} is no row of a summary", where="--model", remedy=remedy)
    if html is not None:
        require_free(Path(html), "choose another --html")
    found, notes = read_runs([Path(run) for run in runs], model)
    if not found:
        raise RunError("there is no finished run to compare", where=", ".join(map(str, runs)))
    notes += [f"{run.folder}: a smoke test: its figures say nothing" for run in found if run.summary.smoke_test]
    tables = tables_of(found, baseline, confidence)
    if len(tables) > 1:
        notes.append("scores of other data cannot be compared: each kind has a table of its own")
    models = {run.row.model for run in found}
    if len(models) > 1:
        notes.append(f"judged by the last model of each run, which is not the same in all: {', '.join(sorted(models))}")
    path = None if html is None else Path(html)
    if path is not None:
        write_compared(path, tables, notes)
    return Compared(tables, tuple(notes), path)
