"""COCO-format annotations as an immutable index, checked before training starts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import DataError
from ..recipe.definition import SplitSpec
from .images import UNREADABLE, read_size
from .problems import Problems, listing

CLIP_TOLERANCE = 1e-3
"""Pixels. COCO's own boxes pass the border by rounding; less than this is not worth reporting."""


@dataclass(frozen=True)
class Category:
    id: int
    name: str


@dataclass(frozen=True)
class ImageRecord:
    """One image: its file, and the size in pixels that both json and file give."""

    id: int
    path: Path
    width: int
    height: int
    file_name: str


@dataclass(frozen=True)
class Box:
    """A training target: corners x0, y0, x1, y1 in pixels, inside the image and with an area."""

    annotation_id: int
    category_id: int
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class IndexReport:
    """What was done to make training targets: ids of annotations (of images for ``empty``)."""

    clipped: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    crowd: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()

    def lines(self) -> list[str]:
        """One sentence per thing done, with counts and the first ids; nothing for what did not occur."""
        sentences = {
            "boxes clipped to their image": self.clipped,
            "boxes of no area inside their image left out of training": self.dropped,
            "crowd boxes left out of training, kept for evaluation": self.crowd,
            "images without any box to train on": self.empty,
        }
        return [f"{text}: {listing([str(i) for i in ids])}" for text, ids in sentences.items() if ids]


@dataclass(frozen=True)
class CocoIndex:
    """One split. ``boxes[i]`` are the training targets of ``images[i]``; the order is the json's.

    annotations: the json itself, which evaluation reads again: crowd boxes and untouched boxes count there.
    """

    annotations: Path
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    boxes: tuple[tuple[Box, ...], ...]
    report: IndexReport

    def __len__(self) -> int:
        return len(self.images)


def read_coco(split: SplitSpec) -> CocoIndex:
    """Read a split and check it: every image's header is opened, no pixels are decoded.

    As DETR does, boxes are clipped to the image, those of no area are then dropped, and crowd boxes are no targets.
    Images without boxes stay.

    Raises: DataError with all problems at once, the first ten of each kind by id.
    """
    document = read_json(split.annotations)
    problems = Problems()
    categories = _categories(document["categories"], problems)
    images = _images(document["images"], split.images, problems)
    boxes, report = _boxes(document["annotations"], images, categories, problems)
    problems.raise_any(split.annotations)
    return CocoIndex(split.annotations, categories, images, boxes, report)


def read_json(path: Path) -> dict[str, Any]:
    """A COCO json: an object whose images, annotations and categories are lists of objects. Other keys may be absent.

    Raises: DataError where the file is missing, is no json, or is not COCO's.
    """
    remedy = "name a COCO detection json under data"
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError("the annotation file is missing", where=str(path), remedy=remedy) from error
    except OSError as error:
        raise DataError(
            f"the annotation file cannot be read: {error.strerror}", where=str(path), remedy=remedy
        ) from error
    except ValueError as error:
        raise DataError(f"the annotation file is not json: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(document, dict):
        raise DataError("the json is not COCO's: it holds no object", where=str(path), remedy=remedy)
    for key in ("images", "annotations", "categories"):
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"the json is not COCO's: {key!r} is not a list of objects", where=str(path), remedy=remedy)
    return document


def _categories(entries: list[dict[str, Any]], problems: Problems) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for place, entry in enumerate(entries):
        key, name = entry.get("id"), entry.get("name")
        if not _whole(key) or not isinstance(name, str):
            problems.add("categories without an id and a name, by place", place)
        elif key in found:
            problems.add("category ids used twice", key)
        else:
            found[key] = Category(key, name)
    if not entries:
        problems.add("no categories", "the list is empty")
    return tuple(found[key] for key in sorted(found))


def _images(entries: list[dict[str, Any]], folder: Path, problems: Problems) -> tuple[ImageRecord, ...]:
    found: dict[int, ImageRecord] = {}
    for place, entry in enumerate(entries):
        key, name = entry.get("id"), entry.get("file_name")
        width, height = entry.get("width"), entry.get("height")
        if not _whole(key) or not isinstance(name, str) or not _positive(width) or not _positive(height):
            problems.add("images without an id, file_name, width and height, by place", place)
        elif key in found:
            problems.add("image ids used twice", key)
        else:
            found[key] = ImageRecord(key, folder / name, width, height, name)
            _check_file(found[key], problems)
    if not entries:
        problems.add("no images", "the list is empty")
    return tuple(found.values())


def _check_file(image: ImageRecord, problems: Problems) -> None:
    if not image.path.is_file():
        problems.add("missing images", f"{image.id}: {image.path}")
        return
    try:
        height, width = read_size(image.path)
    except UNREADABLE:
        problems.add("files that are no image", f"{image.id}: {image.path}")
        return
    sizes = f"{image.id}: {width}x{height}, json {image.width}x{image.height}"
    if (height, width) == (image.width, image.height) and height != width:
        problems.add("images that the json has turned (EXIF orientation is not applied)", sizes)
    elif (height, width) != (image.height, image.width):
        problems.add("images of another size than the json's (width x height)", sizes)


def _boxes(
    entries: list[dict[str, Any]],
    images: tuple[ImageRecord, ...],
    categories: tuple[Category, ...],
    problems: Problems,
) -> tuple[tuple[tuple[Box, ...], ...], IndexReport]:
    records = {image.id: image for image in images}
    kept: dict[int, list[Box]] = {image.id: [] for image in images}
    clipped: list[int] = []
    dropped: list[int] = []
    crowd: list[int] = []
    for entry, box in _read_boxes(entries, set(records), {category.id for category in categories}, problems):
        image = records[entry["image_id"]]
        inside = _clip(box.xyxy, image)
        if entry.get("iscrowd"):
            crowd.append(box.annotation_id)
        elif inside[0] >= inside[2] or inside[1] >= inside[3]:
            dropped.append(box.annotation_id)
        else:
            if max(abs(a - b) for a, b in zip(inside, box.xyxy, strict=True)) > CLIP_TOLERANCE:
                clipped.append(box.annotation_id)
            kept[image.id].append(replace(box, xyxy=inside))
    empty = tuple(image.id for image in images if not kept[image.id])
    report = IndexReport(tuple(clipped), tuple(dropped), tuple(crowd), empty)
    return tuple(tuple(kept[image.id]) for image in images), report


def _read_boxes(
    entries: list[dict[str, Any]], images: set[int], categories: set[int], problems: Problems
) -> Iterator[tuple[dict[str, Any], Box]]:
    """The annotations that are sound, as they stand in the json; the others become problems."""
    seen: set[int] = set()
    for place, entry in enumerate(entries):
        key, image_id, category_id = entry.get("id"), entry.get("image_id"), entry.get("category_id")
        corners = _corners(entry.get("bbox"))
        if not _whole(key):
            problems.add("annotations without an id, by place", place)
        elif key in seen:
            problems.add("annotation ids used twice", key)
        elif not _whole(image_id) or image_id not in images:
            problems.add("annotations of an unknown image", f"{key}: image {image_id}")
        elif not _whole(category_id) or category_id not in categories:
            problems.add("annotations of an unknown category", f"{key}: category {category_id}")
        elif corners is None:
            problems.add("annotations whose box is not four finite numbers", key)
        else:
            yield entry, Box(key, category_id, corners)
        if _whole(key):
            seen.add(key)


def _corners(bbox: object) -> tuple[float, float, float, float] | None:
    """x, y, width, height to corners; None for anything but four finite numbers."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in bbox):
        return None
    x, y, w, h = (float(v) for v in bbox)
    return x, y, x + w, y + h


def _clip(box: tuple[float, float, float, float], image: ImageRecord) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    width, height = float(image.width), float(image.height)
    return min(max(x0, 0.0), width), min(max(y0, 0.0), height), min(max(x1, 0.0), width), min(max(y1, 0.0), height)


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: object) -> TypeGuard[int]:
    return _whole(value) and value > 0
