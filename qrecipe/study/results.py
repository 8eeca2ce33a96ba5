"""What runs that differ by seed alone came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ..run.summary import STUDENTS, Summary, SummaryRow

LAST = (*STUDENTS, "teacher", "start")
"""The row of a summary that a run is judged by: the first of these that it has."""


@dataclass(frozen=True)
class Mean:
    """Of ``count`` values; deviation: of the sample, None of a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Mean | None:
        """None where there is no value."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def last_row(summary: Summary) -> SummaryRow:
    """The model that a run is for."""
    return next(row for name in LAST if (row := summary.row(name)) is not None)


def score_of(summaries: Sequence[Summary], name: str = "AP") -> Mean | None:
    """A score of the last rows of several runs, such as AP."""
    return Mean.of(last_row(summary).scores.get(name) for summary in summaries)
