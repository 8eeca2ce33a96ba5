"""A model that is ready to detect, whatever it came from, and its score on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..data.coco import CocoIndex
from ..data.labels import LabelMap
from ..deploy import OpenedFile
from ..detection.prediction import Prediction, Scores
from ..errors import DataError, EvaluateError
from ..evaluation import Evaluation, evaluate_model
from ..models.loading.build import Built
from ..models.loading.class_names import same_names
from ..placement import placement_of
from ..recipe.definition import InputSpec
from ..student import Student
from .events import BatchScored
from .workspace import Workspace


@dataclass(frozen=True)
class Detector:
    """predict: (batch, 3, height, width) float32 images and their mask, or None, to logits and boxes. input: how images
    are prepared for it. scores: how its logits read."""

    predict: Callable[[Tensor, Tensor | None], Prediction]
    input: InputSpec
    label_map: LabelMap
    scores: Scores


def student_detector(student: Student) -> Detector:
    """A student, which is left in evaluation mode.

    Raises:
        EvaluateError: it was compiled without data and knows no categories.
    """
    if student.label_map is None:
        raise EvaluateError("the student knows no categories")
    student.eval()

    def predict(pixels: Tensor, mask: Tensor | None) -> Prediction:
        placement = placement_of(student)
        return student.predict(placement.move(pixels), None if mask is None else placement.move(mask))

    return Detector(predict, student.input, student.label_map, student.family.scores)


def file_detector(opened: OpenedFile) -> Detector:
    """An exported file.

    Raises:
        EvaluateError: its student was compiled without data and knows no categories.
    """
    metadata = opened.metadata
    if metadata.label_map is None:
        raise EvaluateError("the file knows no categories", where=str(opened.path))
    return Detector(opened.predict, metadata.input, metadata.label_map, metadata.scores)


def built_detector(built: Built) -> Detector:
    """The real-valued model itself, as it was built, without any capture."""
    model, family = built.model.eval(), built.family

    def predict(pixels: Tensor, mask: Tensor | None) -> Prediction:
        outputs, extras = family.forward(model, family.inputs(pixels, mask))
        return family.read(outputs, extras)

    return Detector(predict, built.input, built.label_map, family.scores)


def _require_categories(labels: LabelMap, data: CocoIndex) -> None:
    """Categories that the detector lacks may stand in the json as long as no box is of them.

    Raises: DataError: an id is another category's than the detector has learned, or of none.
    """
    used = {int(key) for key in data.boxes.category_id}
    wrong = [
        f"{one.id} ({labels.names.get(one.id, 'absent')} / {one.name})"
        for one in data.categories
        if not (same_names({0: one.name}, {0: labels.names[one.id]}) if one.id in labels.names else one.id not in used)
    ]
    if wrong:
        listed = ", ".join(wrong[:10])
        raise DataError(
            f"{len(wrong)} categories are not those that the detector knows by their ids: {listed}",
            where=str(data.annotations),
            remedy="give the json the ids and names that it was trained with",
        )


def score(detector: Detector, workspace: Workspace, split: str) -> tuple[Evaluation, list[dict[str, Any]]]:
    """The COCO numbers of a detector on a split, and its detections.

    Raises:
        EvaluateError: outputs are not finite. DataError: the data cannot be used, or its ids name other categories.
    """
    _require_categories(detector.label_map, workspace.data[split])
    loader = workspace.batches(split, detector.label_map, detector.input, train=False, shared=True)
    return evaluate_model(
        lambda batch: detector.predict(batch.pixel_values, batch.pixel_mask),
        loader,
        detector.label_map,
        detector.scores,
        workspace.data[split].truth,
        lambda done, total: workspace.listener(BatchScored(split, done, total)),
    )
