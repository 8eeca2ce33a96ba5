"""What a run's page shows beside its figures, gathered from a few images of the validation split."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.coco import CocoIndex
from ..data.columns import ImageRecord
from ..data.images import read_rgb
from ..evaluation import detections
from ..evaluation.detections import Result
from ..evidence import OVERLAP, THRESHOLD, Judged, disagreement, judge
from ..run.evidence import write_evidence
from ..student import Student
from .detector import student_detector
from .events import BatchScored
from .experiment import Experiment
from .look_inside import look_inside

SPLIT = "val"
COMPARED, SHOWN, LOOKED_INTO = 100, 12, 8
"""Images, the first of the split: on which detections are compared; of which the worst are shown; from which noise and
queries are taken."""
LONGEST, HEAVIEST = 480, 48_000
"""Pixels of a picture's longer side, and bytes of its file."""


@torch.no_grad()
def gather_evidence(experiment: Experiment, student: Student, row: str) -> dict[str, Any]:
    """Compare a student with its teacher and keep what was seen in the run folder.

    Args:
        student: quantized, with the weights that are meant; it is left in evaluation mode. row: which one it is, a
            key of ``run.summary.ROWS``.

    Returns:
        how many images, sites and layers there are something of.

    Raises:
        QRecipeError: the data cannot be used, or the folder not be written.
    """
    teacher, index = experiment.teacher, experiment.workspace.data[SPLIT]
    names = {category.id: category.name for category in index.categories}
    places = {key: place for place, key in enumerate(names)}
    found = [_detect(experiment, one) for one in (teacher, student)]
    pictures: dict[str, bytes] = {}
    images: list[dict[str, Any]] = []
    for record, truth, judged in _worst(index, *found)[:SHOWN]:
        name = f"{len(images) + 1:02}.jpg"
        pictures[name] = _picture(experiment, record)
        images.append(_image(record, name, truth, judged, places))
    inside = look_inside(experiment, student, LOOKED_INTO)
    for number, one in enumerate(inside["attention"]["images"], 1):
        one["picture"] = f"attention-{number}.jpg"
        record = _record(index, one.pop("id"))
        one["width"], one["height"] = record.width, record.height
        pictures[one["picture"]] = _picture(experiment, record)
    data = {
        "row": row,
        "split": SPLIT,
        "compared": min(COMPARED, len(index.images)),
        "score": THRESHOLD,
        "overlap": OVERLAP,
        "names": list(names.values()),
        "images": images,
        **inside,
    }
    write_evidence(experiment.run.path, data, pictures)
    return {"images": len(images), "sites": len(inside["noise"]), "layers": len(inside["queries"])}


def _detect(experiment: Experiment, student: Student) -> dict[int, list[Result]]:
    """Results of the first images by their ids, each image by itself."""
    detector = student_detector(student)
    loader = experiment.workspace.batches(SPLIT, detector.label_map, detector.input, train=False, batch_size=1)
    total = min(COMPARED, len(loader))
    found: dict[int, list[Result]] = {}
    for done, batch in enumerate(islice(loader, total), 1):
        found[batch.image_ids[0]] = detections(
            detector.predict(batch.pixel_values, batch.pixel_mask),
            image_ids=batch.image_ids,
            sizes=batch.sizes,
            label_map=detector.label_map,
            scores=detector.scores,
        )
        experiment.listener(BatchScored(SPLIT, done, total))
    return found


Truth = tuple[NDArray[np.float64], list[int], list[bool]]
"""(n, 4) x, y, width, height in pixels; of each its category, and whether it is a crowd."""


def _worst(
    index: CocoIndex, teacher: Mapping[int, Sequence[Result]], student: Mapping[int, Sequence[Result]]
) -> list[tuple[ImageRecord, Truth, tuple[Judged, Judged]]]:
    """The images, those that the two disagree on most first; of alike ones in their own order."""
    all_of = index.truth
    found = []
    for record in index.images[: len(teacher)]:
        own = all_of.image_id == record.id
        truth = all_of.bbox[own], all_of.category_id[own].tolist(), all_of.iscrowd[own].tolist()
        found.append((record, truth, (judge(*truth, teacher[record.id]), judge(*truth, student[record.id]))))
    return sorted(found, key=lambda one: -disagreement(*one[2]))


def _image(
    record: ImageRecord, picture: str, truth: Truth, judged: tuple[Judged, Judged], places: Mapping[int, int]
) -> dict[str, Any]:
    """An image as plain data: its boxes as [place of the name, x, y, width, height] in 0..1, without crowds; detections
    with a score, and the place of the box that they find or None, behind."""

    def scaled(box: Sequence[float]) -> list[float]:
        sides = record.width, record.height, record.width, record.height
        return [round(float(value) / side, 4) for value, side in zip(box, sides, strict=True)]

    boxes, categories, crowd = truth
    kept = {at: place for place, at in enumerate(at for at, one in enumerate(crowd) if not one)}
    detected = [
        [
            [places[one["category_id"]], *scaled(one["bbox"]), round(one["score"], 3), None if at is None else kept[at]]
            for one, at in zip(own.detections, own.finds, strict=True)
        ]
        for own in judged
    ]
    return {
        "file_name": record.file_name,
        "picture": picture,
        "width": record.width,
        "height": record.height,
        "disagreement": disagreement(*judged),
        "truth": [[places[categories[at]], *scaled(boxes[at].tolist())] for at in kept],
        "teacher": detected[0],
        "student": detected[1],
    }


def _record(index: CocoIndex, key: int) -> ImageRecord:
    return next(record for record in index.images if record.id == key)


def _picture(experiment: Experiment, record: ImageRecord) -> bytes:
    """A JPEG file of an image, small in pixels and in bytes."""
    image = read_rgb(record.path, grey_range=experiment.recipe.model.input.grey_range)
    image.thumbnail((LONGEST, LONGEST))
    for quality in (80, 60, 40, 20):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= HEAVIEST:
            break
    return file.getvalue()
