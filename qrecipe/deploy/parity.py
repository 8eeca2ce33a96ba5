"""A file in its runtime beside its student, over a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .departure import Departure

TOLERANCE = 0.2
"""AP points (hundredths) by which a file may differ from its student."""


@dataclass(frozen=True)
class Parity:
    """student, file: their AP on the same images, 0..1, None where these hold no boxes. differences: query by query,
    see ``Differences.to_dict``. tolerance: in points.
    """

    runtime: str
    version: str
    split: str
    images: int
    student: float | None
    file: float | None
    differences: dict[str, float | int]
    departure: Departure
    tolerance: float

    @property
    def points(self) -> float | None:
        """AP of the file less its student's, in points; None where there is none."""
        return None if self.file is None or self.student is None else 100 * (self.file - self.student)

    @property
    def passed(self) -> bool:
        """Never where nothing was shown."""
        return self.points is not None and abs(self.points) <= self.tolerance and not self.departure.plain

    @property
    def advice(self) -> str:
        """What to do where it did not pass."""
        line = self.departure.line()
        if self.points is None:
            return f"{line}; the images that were compared hold no boxes, so AP shows nothing: compare on more"
        if self.departure.plain or (self.departure.vnni is False and self.departure.saturating):
            return line
        return f"{line}; on {self.images} images rounding moves AP too: compare on more, or set --tolerance"

    def to_dict(self) -> dict[str, Any]:
        names = ("runtime", "version", "split", "images", "student", "file", "points", "tolerance", "passed")
        own = {name: getattr(self, name) for name in names}
        return {**own, "differences": self.differences, "departure": self.departure.to_dict()}

    def lines(self) -> list[str]:
        """For the user."""
        ap = [f"{value:.4f}" if value is not None else "none" for value in (self.student, self.file)]
        own = self.differences
        points = "no boxes to find" if self.points is None else f"{self.points:+.2f} points"
        return [
            f"{self.split}, {self.images} images: AP {ap[1]} in {self.runtime} {self.version}, the student's {ap[0]} "
            f"({points}, {self.tolerance:g} allowed)",
            f"queries paired by nearness: logits differ by {own['logits_median']:.2g} (median; 95%: "
            f"{own['logits_95']:.2g}), boxes by {own['boxes_median']:.2g} ({own['boxes_95']:.2g}); "
            f"{own['other']:.1%} are others",
            self.departure.line(),
        ]
