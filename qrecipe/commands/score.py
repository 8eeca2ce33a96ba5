"""Scores a model on a split, and says how it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..data.batch import Batch
from ..data.loader import BatchLoader
from ..evaluate import Evaluation, evaluate_model
from ..models.prediction import Prediction
from ..models.sources import Built
from ..student import Student
from .workshop import Workshop

Progress = Callable[[int, int], None]


def score_student(
    student: Student, loader: BatchLoader, workshop: Workshop, split: str, progress: Progress | None = None
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Evaluate a student in evaluation mode; the mode it had comes back afterwards."""
    training = student.training
    student.eval()
    parameter = next(student.parameters())

    def predict(batch: Batch) -> Prediction:
        moved = batch.to(parameter.device)
        return student.predict(moved.pixel_values.to(parameter.dtype), moved.pixel_mask)

    try:
        assert student.label_map is not None
        return evaluate_model(
            predict, loader, student.label_map, student.family.scores, workshop.data[split].annotations, progress
        )
    finally:
        student.train(training)


def score_model(
    built: Built, loader: BatchLoader, workshop: Workshop, split: str, progress: Progress | None = None
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Evaluate the real-valued model itself, as it was built, without any capture."""
    model = built.model.eval()

    def predict(batch: Batch) -> Prediction:
        outputs, extras = built.family.forward(model, built.family.inputs(batch.pixel_values, batch.pixel_mask))
        return built.family.read(outputs, extras)

    with torch.no_grad():
        return evaluate_model(
            predict, loader, built.label_map, built.family.scores, workshop.data[split].annotations, progress
        )
