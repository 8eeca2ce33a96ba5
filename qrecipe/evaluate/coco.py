"""COCO's twelve numbers, and average precision per class."""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco import read_json
from ..errors import DataError, EvaluateError
from .detections import Result

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""In the order of COCOeval.stats."""


@dataclass(frozen=True)
class Evaluation:
    """The twelve numbers, 0..1, or -1 where there is nothing to find; ``per_class``: AP by the category's name.

    Two categories of one name are told apart as ``name (id)``.
    """

    AP: float
    AP50: float
    AP75: float
    APs: float
    APm: float
    APl: float
    AR1: float
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_class: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**{name: getattr(self, name) for name in NUMBERS}, "per_class": dict(self.per_class)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """The inverse of :meth:`to_dict`."""
        return cls(**{name: float(data[name]) for name in NUMBERS}, per_class=dict(data["per_class"]))


def evaluate_results(
    annotations: Path, results: Sequence[Result], image_ids: Iterable[int] | None = None
) -> Evaluation:
    """Score results against a COCO json, with pycocotools and without its printing.

    Crowd boxes count as pycocotools has it. Without any result the numbers are 0, and -1 where the json has nothing
    to find. Where annotations lack an area, width x height stands in; where they lack iscrowd, 0 does.

    image_ids: the images to score, all of the json's by default; others' results are not counted.

    Raises: EvaluateError for no images, results of unknown images or categories, or that are not finite;
        DataError for an unreadable json.
    """
    document = read_json(annotations)
    known = {image["id"] for image in document["images"]}
    chosen = sorted(known if image_ids is None else set(image_ids))
    # To pycocotools an empty list of images means all of them.
    if not chosen:
        raise EvaluateError("there is no image to evaluate", where=str(annotations))
    _check(results, known, {category["id"] for category in document["categories"]}, chosen, annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(_coco(document, _truth(document, annotations)), _coco(document, _found(results)), "bbox")
        run.params.imgIds = chosen
        run.evaluate()
        run.accumulate()
        run.summarize()
    numbers = {name: float(value) for name, value in zip(NUMBERS, run.stats, strict=True)}
    return Evaluation(**numbers, per_class=_per_class(run, document["categories"]))


def _truth(document: dict[str, Any], where: Path) -> list[dict[str, Any]]:
    """Annotations as pycocotools needs them. It takes an id of 0 for "no match", so all are numbered from 1."""
    entries = []
    for place, entry in enumerate(document["annotations"]):
        box = entry.get("bbox")
        if "image_id" not in entry or "category_id" not in entry or not isinstance(box, list) or len(box) != 4:
            raise DataError(
                f"annotation {place} (by place, from 0) lacks image_id, category_id or bbox", where=str(where)
            )
        entries.append(
            {
                "id": place + 1,
                "image_id": entry["image_id"],
                "category_id": entry["category_id"],
                "bbox": box,
                "area": entry.get("area", box[2] * box[3]),
                "iscrowd": entry.get("iscrowd", 0),
            }
        )
    return entries


def _found(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What COCO.loadRes makes of results; it refuses an empty list, and writes into what it is given."""
    return [
        {**entry, "id": place, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0}
        for place, entry in enumerate(results, start=1)
    ]


def _coco(document: dict[str, Any], annotations: list[dict[str, Any]]) -> Any:
    index = COCO()
    index.dataset = {
        "images": document["images"],
        "categories": document["categories"],
        "annotations": annotations,
    }
    index.createIndex()
    return index


def _per_class(run: Any, categories: list[dict[str, Any]]) -> dict[str, float]:
    names = {category["id"]: str(category.get("name", category["id"])) for category in categories}
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    # IoU thresholds, recalls, categories, areas (0: all), numbers of detections (-1: 100)
    precision = run.eval["precision"][:, :, :, 0, -1]
    per_class: dict[str, float] = {}
    for column, key in enumerate(run.params.catIds):
        values = precision[:, :, column]
        values = values[values > -1]
        name = f"{names[key]} ({key})" if names[key] in repeated else names[key]
        per_class[name] = float(np.mean(values)) if values.size else -1.0
    return per_class


def _check(
    results: Sequence[Result], known: set[int], categories: set[int], chosen: Sequence[int], annotations: Path
) -> None:
    where = str(annotations)
    unknown = sorted((set(chosen) | {entry["image_id"] for entry in results}) - known)
    if unknown:
        raise EvaluateError(f"{len(unknown)} images are not in the annotations: {unknown[:10]}", where=where)
    foreign = sorted({entry["category_id"] for entry in results} - categories)
    if foreign:
        raise EvaluateError(f"results have categories that are not in the annotations: {foreign[:10]}", where=where)
    bad = sorted(
        {entry["image_id"] for entry in results if not all(map(math.isfinite, (entry["score"], *entry["bbox"])))}
    )
    if bad:
        raise EvaluateError(f"results that are not finite in images {bad[:10]}", where=where)
