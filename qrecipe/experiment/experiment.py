"""One run of a recipe in a run folder: its models, each made on first use, and what all phases do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..data.batch import Batch
from ..data.coco import CocoIndex
from ..data.loader import BatchLoader
from ..evaluation import Evaluation
from ..recipe.definition import Recipe
from ..run.folder import RunFolder
from ..run.layout import MODELS
from ..run.summary import ROWS
from ..student import Student, make_student, real_valued
from ..train.module import TrainingModule
from .detector import score, student_detector
from .events import Listener, Scored
from .workspace import Workspace

Draw = Callable[[CocoIndex, Sequence[Mapping[str, Any]], Path], Path]
"""Draws detections on a split into a file, beside their ground truth."""


@dataclass
class Experiment:
    """resume: go on with what is in the folder. draw: makes the run's picture; without it there is none.

    evidence: whether the run keeps what its page shows of a few images.
    """

    workspace: Workspace
    run: RunFolder
    resume: bool = False
    draw: Draw | None = None
    evidence: bool = False

    @property
    def recipe(self) -> Recipe:
        return self.workspace.recipe

    @property
    def listener(self) -> Listener:
        return self.workspace.listener

    @cached_property
    def student(self) -> Student:
        """The one that is calibrated and trained. Raises: PlanErrors: the recipe does not fit the model."""
        return self.make_student()

    @cached_property
    def teacher(self) -> Student:
        """Real-valued, with the student's taps. Raises: PlanErrors."""
        recipe = real_valued(self.recipe, targets=True)
        return make_student(self.workspace.teacher_original, recipe, part="teacher")

    @cached_property
    def module(self) -> TrainingModule:
        """Student, teacher and losses. Raises: PlanErrors: their taps do not fit together."""
        teacher = self.teacher if self.recipe.distill.targets else None
        return TrainingModule(self.student, teacher, partial(self.calibration_batches, self.student))

    def make_student(self) -> Student:
        """Another one, as it is before its calibration."""
        return make_student(self.workspace.original, self.recipe)

    def make_control(self) -> Student:
        """The teacher, to be trained as the student is."""
        return make_student(self.workspace.teacher_original, real_valued(self.recipe), part="teacher")

    @property
    def quantizes(self) -> bool:
        """Whether anything of the student is calibrated."""
        return bool(self.student.plan.quantizers or self.student.plan.alignments)

    @property
    def reconstructs(self) -> bool:
        return bool(self.student.plan.quantizers) and self.recipe.quantize.reconstruct is not None

    @property
    def trains(self) -> bool:
        return self.recipe.train.epochs > 0

    @property
    def has_control(self) -> bool:
        return bool(self.student.plan.quantizers) and self.recipe.train.control and self.trains

    @property
    def last(self) -> str:
        """The row of the summary that is the run's student."""
        return "trained" if self.trains else "reconstructed" if self.reconstructs else "calibrated"

    @property
    def first(self) -> str:
        """The row of the summary that the others are compared with.

        A detector that is trained as it is has no teacher to compare with, only its own beginning.
        """
        return "teacher" if self.quantizes or self.recipe.teacher is not None else "start"

    def title(self, row: str) -> str:
        """How a model is called, by its row in the summary."""
        return "after training" if row == "trained" and self.first == "start" else ROWS[row]

    def folder(self, model: str) -> Path:
        """Where a model of the run is kept: a key of ``run.layout.MODELS``."""
        return self.run.path / MODELS[model]

    def score(self, student: Student, split: str, row: str) -> tuple[Evaluation, list[dict[str, Any]]]:
        """Evaluate a student, which is left in evaluation mode, and tell what came out."""
        evaluation, results = score(student_detector(student), self.workspace, split)
        self.listener(Scored(split, self.title(row), evaluation))
        return evaluation, results

    def calibration_batches(self, student: Student) -> list[Batch]:
        """What ranges come from, the same in every process."""
        spec = self.recipe.quantize.calibration
        return list(islice(self.batches(student, spec.batch_size, train=False), spec.batches))

    def batches(self, student: Student, batch_size: int, *, train: bool) -> BatchLoader:
        """Batches of the training split: as training sees them, shared by all processes, or as evaluation does."""
        assert student.label_map is not None
        batches, own = self.workspace.batches, (student.label_map, student.input)
        return batches("train", *own, train=train, batch_size=batch_size, shared=train)
