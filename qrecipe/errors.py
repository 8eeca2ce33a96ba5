"""Every error that a user can cause: what went wrong, where, and what to do about it.

The command line prints these without a traceback and exits with 2. Anything else that escapes is a fault of
qrecipe's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class QRecipeError(Exception):
    """Root of the errors that a user can mend.

    Args:
        what: one sentence: what is wrong.
        where: the place: ``recipe.yaml:12:7``, a module path, a file, an image id.
        remedy: what to do about it.
    """

    stage: ClassVar[str] = "qrecipe"
    passing: ClassVar[bool] = False
    """Whether it is of the moment, a full disk for one: a run goes on as soon as it is mended."""

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head} ({self.remedy})" if self.remedy else head


class RecipeError(QRecipeError):
    """The recipe's text, or a value in it."""

    stage = "recipe"


class RecipeErrors(RecipeError):  # noqa: N818 - it holds several
    """All errors of one recipe at once, in the order of the files."""

    def __init__(self, problems: Sequence[QRecipeError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class ModelError(QRecipeError):
    """The model cannot be built, loaded or read."""

    stage = "model"


class DataError(QRecipeError):
    """Images or annotations that cannot be used as they are."""

    stage = "data"


class ImageError(DataError):
    """An image that was there when the data was checked and cannot be read now, or a process that reads images."""

    passing: ClassVar[bool] = True


class CaptureError(QRecipeError):
    """The model cannot be captured as a graph."""

    stage = "capture"


class PlanError(QRecipeError):
    """The recipe does not fit the captured model: a rule, a role, a tap, a width."""

    stage = "plan"


class PlanErrors(PlanError, RecipeErrors):  # noqa: N818 - it holds several
    """Everything in which a recipe does not fit its model, at once."""


class CalibrationError(QRecipeError):
    """Ranges cannot be found: no data at a site, or values that are not finite."""

    stage = "calibration"


class TrainError(QRecipeError):
    """Training cannot go on: a loss that is not finite, a checkpoint that does not fit."""

    stage = "train"


class SearchError(QRecipeError):
    """What is asked of a sensitivity analysis or a search of bits cannot be done."""

    stage = "search"


class EvaluateError(QRecipeError):
    """Detections that cannot be evaluated."""

    stage = "evaluate"


class RunError(QRecipeError):
    """The run folder: it exists, is finished, is unfinished, or cannot be written."""

    stage = "run"


class OutOfMemoryError(QRecipeError):
    """More memory was asked for than there is."""

    stage = "memory"


class ProcessError(QRecipeError):
    """Another process of the same run has ended."""

    stage = "processes"
    passing: ClassVar[bool] = True


class ExportError(QRecipeError):
    """A student that cannot be exported, or an exported file that cannot be used."""

    stage = "export"
