"""The picture that a run leaves: detections on images of a split, beside their ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.coco import CocoIndex
from ..data.columns import Box
from ..data.images import read_rgb
from ..run.files import writing
from .sheet import Panel, contact_sheet

IMAGES = 12
THRESHOLD = 0.5
"""Detections with a lower score are not drawn."""


def save_detections(
    index: CocoIndex,
    results: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    grey_range: tuple[int, int] | None = None,
) -> Path:
    """Write a sheet of the split's first images, ground truth left, detections right; returns ``path``.

    Args:
        results: COCO results of the whole split. grey_range: as ``read_rgb`` takes it.

    Raises:
        RunError: the picture cannot be written. DataError: an image cannot be read.
    """
    shown: dict[int, list[Mapping[str, Any]]] = {record.id: [] for record in index.images[:IMAGES]}
    for result in results:
        if result["image_id"] in shown and result["score"] >= THRESHOLD:
            shown[result["image_id"]].append(result)
    panels = [
        Panel(
            read_rgb(record.path, grey_range=grey_range),
            shown[record.id],
            [_truth(box) for box in boxes],
            record.file_name,
        )
        for record, boxes in zip(index.images[:IMAGES], index.boxes[:IMAGES], strict=True)
    ]
    names = {category.id: category.name for category in index.categories}
    sheet = contact_sheet(panels, names, columns=2)
    with writing(path):
        sheet.save(path)
    return path


def _truth(box: Box) -> dict[str, Any]:
    left, top, right, bottom = box.xyxy
    return {"category_id": box.category_id, "bbox": [left, top, right - left, bottom - top]}
