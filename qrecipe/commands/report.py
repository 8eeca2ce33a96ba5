"""``qrecipe report``: a run as one page for a browser, and how ``apply`` keeps it up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import QRecipeError, RunError
from ..experiment.events import EpochEnded, Event, Listener, Noted, RunEnded, RunStarted, nobody
from ..experiment.evidence_of_run import evidence_of_run
from ..report.page.contents import PICTURES, contents_of
from ..report.page.render import can_render, write_page
from ..run.files import require_free
from ..run.layout import REPORT

ON_A_PAGE = 30
"""Images on a page of several runs, so that it stays below 5 MB."""


@dataclass(frozen=True)
class Reported:
    """The page that was written, and how many bytes it has."""

    path: Path
    size: int

    def to_dict(self) -> dict[str, Any]:
        return {"path": str(self.path), "size": self.size}


def write_report(
    runs: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    evidence: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Reported:
    """Make the page of a run again, or one page of several runs.

    Args:
        runs: run folders, finished or not.
        output: a new file; by default ``report.html`` in the run's folder, which is replaced, and of several runs a
            new ``report.html`` here.
        evidence: look into the models again first: detections beside the teacher's, noise, queries. The runs' data
            and the weights that they started from must be there.
        cache: whether a capture that an earlier command has kept will do for that, and a new one is kept.

    Raises:
        RunError: a folder holds no run, or one without a student to look into; the file is there already, or jinja2
            is missing.
    """
    folders = [Path(run) for run in runs]
    if not folders:
        raise RunError("there is no run to report", remedy="name run folders")
    own = output is None and len(folders) == 1
    path = folders[0] / REPORT if own else Path(output or REPORT)
    if not own:
        require_free(path, "choose another --output")
    for folder in folders if evidence else ():
        evidence_of_run(folder, cache, listener)
    most = max(1, min(PICTURES, ON_A_PAGE // len(folders)))
    found = [contents_of(folder, most) for folder in folders]
    write_page(path, found)
    return Reported(path, path.stat().st_size)


def with_page(listener: Listener) -> Listener:
    """The same listener, and a page in the run's folder that is made anew after every epoch and at the end.

    A page that cannot be written is told, and ends no run.
    """
    folder: Path | None = None

    def listen(event: Event) -> None:
        nonlocal folder
        listener(event)
        if isinstance(event, RunStarted):
            folder = event.folder
        ended = isinstance(event, RunEnded)
        if folder is None or not (ended or isinstance(event, EpochEnded)) or not (ended or can_render()):
            return
        try:
            write_page(folder / REPORT, [contents_of(folder)])
        except QRecipeError as problem:
            listener(Noted("report", f"not written: {problem}"))
        else:
            if ended:
                listener(Noted("report", str(folder / REPORT), progress=True))

    return listen
