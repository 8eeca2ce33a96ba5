"""COCO's twelve numbers, and average precision per class."""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..data.document import Category
from ..data.truth import Truth
from ..errors import EvaluateError
from .detections import Result
from .matches import ImageMatches, matches_of
from .outcome import accumulated, outcome_of

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""In the order of COCOeval.stats."""


@dataclass(frozen=True)
class Evaluation:
    """The twelve numbers, 0..1, or None where there is nothing to find; ``per_class``: AP by the category's name.

    Two categories of one name are told apart as ``name (id)``. matches: image by image.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR1: float | None
    AR10: float | None
    AR100: float | None
    ARs: float | None
    ARm: float | None
    ARl: float | None
    per_class: dict[str, float | None]
    matches: ImageMatches | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**{name: getattr(self, name) for name in NUMBERS}, "per_class": dict(self.per_class)}


def evaluate_results(truth: Truth, results: Sequence[Result], image_ids: Iterable[int] | None = None) -> Evaluation:
    """Score results against the boxes of a split: pycocotools' numbers, bit for bit.

    Its overlaps and its summary are used; matching and accumulation go over columns, in a small part of the time.

    Crowd boxes count as pycocotools has it. Without any result the numbers are 0, and None where there is nothing to
    find: pycocotools' -1.

    image_ids: the images to score, all of the split's by default; others' results are not counted.

    Raises: EvaluateError for no images, results of unknown images or categories, or that are not finite.
    """
    known = set(truth.images)
    chosen = sorted(known if image_ids is None else set(image_ids))
    # To pycocotools an empty list of images means all of them.
    if not chosen:
        raise EvaluateError("there is no image to evaluate", where=str(truth.annotations))
    _check(results, known, chosen, truth)
    run = COCOeval(iouType="bbox")
    run.params.imgIds, run.params.catIds = chosen, sorted(category.id for category in truth.categories)
    outcome = outcome_of(truth, results, run.params)
    run.eval = accumulated(outcome, run.params)
    with contextlib.redirect_stdout(io.StringIO()):
        run.summarize()
    numbers = {name: _number(value) for name, value in zip(NUMBERS, run.stats, strict=True)}
    matches = matches_of(outcome, run.params)
    return Evaluation(**numbers, per_class=_per_class(run, truth.categories), matches=matches)


def _number(value: float) -> float | None:
    return None if value < 0 else float(value)


def _per_class(run: Any, categories: Sequence[Category]) -> dict[str, float | None]:
    names = {category.id: category.name for category in categories}
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    # IoU thresholds, recalls, categories, areas (0: all), numbers of detections (-1: 100)
    precision = run.eval["precision"][:, :, :, 0, -1]
    per_class: dict[str, float | None] = {}
    for column, key in enumerate(run.params.catIds):
        values = precision[:, :, column]
        values = values[values > -1]
        name = f"{names[key]} ({key})" if names[key] in repeated else names[key]
        name = f"{name} ({key})" if name in per_class else name  # one that is called "bat (1)" itself
        per_class[name] = float(np.mean(values)) if values.size else None
    return per_class


def _check(results: Sequence[Result], known: set[int], chosen: Sequence[int], truth: Truth) -> None:
    where = str(truth.annotations)
    unknown = sorted((set(chosen) | {entry["image_id"] for entry in results}) - known)
    if unknown:
        raise EvaluateError(f"{len(unknown)} images are not in the annotations: {unknown[:10]}", where=where)
    foreign = sorted({entry["category_id"] for entry in results} - {category.id for category in truth.categories})
    if foreign:
        raise EvaluateError(f"results have categories that are not in the annotations: {foreign[:10]}", where=where)
    bad = sorted(
        {entry["image_id"] for entry in results if not all(map(math.isfinite, (entry["score"], *entry["bbox"])))}
    )
    if bad:
        raise EvaluateError(f"results that are not finite in images {bad[:10]}", where=where)
