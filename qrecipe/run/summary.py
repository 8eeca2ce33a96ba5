"""The figures a run ends with, as ``summary.json`` keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import RunError

ROWS: dict[str, str] = {
    "teacher": "teacher",
    "start": "before training",
    "control": "control",
    "calibrated": "student, calibrated",
    "reconstructed": "student, reconstructed",
    "trained": "student, trained",
}
"""The models that a summary compares, in their order, and how they are called.

start: the model itself, where nothing is quantized and no other teacher is named. control: the teacher, trained on for
the student's own budget and schedule.
"""
STUDENTS = ("trained", "reconstructed", "calibrated")
"""Rows of students, the furthest one first."""


@dataclass(frozen=True)
class SummaryRow:
    """One model. model: a key of ROWS. scores: the twelve COCO numbers by name (AP, AP50, ...), 0..1, or None where
    there is nothing to find.

    bytes: size of the weights, their scales and offsets. operations: multiply-accumulates of one image, each counted
    as b/32 with b the bits of its wider operand, so that a real-valued one counts 1.
    """

    model: str
    scores: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    bytes: float | None = None
    operations: float | None = None


@dataclass(frozen=True)
class Summary:
    """recipe: its name. split: the split that the scores are from. notes: what the reader should be told.
    smoke_test: of a few images or epochs, so that the scores say nothing.
    """

    recipe: str
    split: str
    rows: tuple[SummaryRow, ...]
    notes: tuple[str, ...] = ()
    smoke_test: bool = False

    def row(self, model: str) -> SummaryRow | None:
        """The row of a model, or None where the run did not make it."""
        return next((row for row in self.rows if row.model == model), None)

    def title(self, row: SummaryRow) -> str:
        """How a row is called: a model that is trained as it is has no student."""
        if row.model == "trained" and self.row("start"):
            return "after training"
        return ROWS.get(row.model, row.model)

    def share(self, row: SummaryRow, of: str, score: str = "AP") -> float | None:
        """``row``'s score as a fraction of ``of``'s; None where either is absent or the latter is not above 0."""
        other = self.row(of)
        own, whole = row.scores.get(score), None if other is None else other.scores.get(score)
        return None if own is None or whole is None or whole <= 0 else own / whole

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Summary:
        """Raises: RunError: keys are missing or unknown."""
        try:
            rows = tuple(SummaryRow(**row) for row in data["rows"])
            notes, smoke_test = tuple(data.get("notes", ())), bool(data.get("smoke_test", False))
            return cls(data["recipe"], data["split"], rows, notes, smoke_test)
        except (KeyError, TypeError) as error:
            raise RunError(f"this is no summary of a run: {error}") from error
