"""A sweep in a terminal: what there is to do, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from ..plain_text import printable, short
from ..study.results import Mean, last_row, score_of
from ..study.state import RunState
from .amounts import ABSENT, amount, size
from .progress import duration
from .table import compact


def runs_table(runs: Sequence[RunState]) -> Iterator[Table | str]:
    """Every run with its state and what it changes."""
    table = compact("Runs", "run", "state", "changes", figures=())
    for one in runs:
        table.add_row(f"{one.run.number}  {printable(one.run.name)}", one.state, changes_text(one.run.changes))
    yield table


def rest_text(runs: Sequence[RunState], left: float | None, jobs: int) -> str:
    """How many are done and to do, and how long those may take."""
    counts = {state: sum(one.state == state for one in runs) for state in ("done", "interrupted", "failed", "to do")}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    text = f"{len(runs)} run{'s'[: len(runs) != 1]}: {told}"
    if counts["done"] == len(runs):
        return text
    known = sum(one.seconds is not None for one in runs)
    if left is None:
        return f"{text}; how long they take is not known before one is done"
    several = f", {jobs} at a time" if jobs > 1 else ""
    return f"{text}; about {duration(left)}{several}, judged by {known} that {'is' if known == 1 else 'are'} done"


def results_table(runs: Sequence[RunState]) -> Iterator[Table | str]:
    """A row for each variant: mean and deviation of AP over seeds, and its cost."""
    groups: dict[str, list[RunState]] = {}
    for one in runs:
        groups.setdefault(one.run.group, []).append(one)
    several = any(len(members) > 1 for members in groups.values())
    table = compact("Results", "variant", figures=("runs", "AP", "AP50", "size", "operations"))
    splits: set[str] = set()
    for group, members in groups.items():
        done = [one.summary for one in members if one.summary is not None]
        splits |= {summary.split for summary in done}
        rows = [last_row(summary) for summary in done]
        table.add_row(
            printable(group) or "base",
            f"{len(done)}/{len(members)}",
            spread(score_of(done)),
            spread(score_of(done, "AP50")),
            size(rows[0].bytes) if rows and rows[0].bytes is not None else ABSENT,
            amount(rows[0].operations) if rows and rows[0].operations is not None else ABSENT,
        )
    yield table
    if splits:
        what = "mean and sample standard deviation over seeds" if several else "of one run each"
        yield f"AP: {what}, on the {' and the '.join(sorted(splits))} split"


def failures_text(runs: Sequence[RunState]) -> str:
    """A line for each run that failed."""
    lines = [f"  {one.run.number}  {printable(one.run.name)}: {short(one.message or '', 300)}" for one in runs]
    return "\n".join([f"{len(runs)} failed; the same command tries them again:", *lines])


def spread(found: Mean | None) -> str:
    """``0.742 ± 0.004``."""
    if found is None:
        return ABSENT
    return f"{found.mean:.3f}" + ("" if found.deviation is None else f" ± {found.deviation:.3f}")


def changes_text(changes: Mapping[str, Any]) -> str:
    """``train.batch_size=8, seed=1``."""
    text = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in changes.items())
    return short(text, 100) or "none"
