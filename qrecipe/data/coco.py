"""A split, its json and its images, as an immutable index, checked before anything runs."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from ..recipe.definition import SplitSpec
from .document import Annotation, Category, Document, ImageEntry, read_document
from .fields import shown
from .images import NOT_RGB, Header, read_header
from .notices import depth_lines, turned_line
from .problems import Problems, listing
from .truth import Truth, truth_of

CLIP_TOLERANCE = 1e-3
"""Pixels. COCO's own boxes pass the border by rounding; less than this is not worth reporting."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: its file, and the size in pixels that both json and file give."""

    id: int
    path: Path
    width: int
    height: int
    file_name: str


@dataclass(frozen=True, slots=True)
class Box:
    """A training target: corners x0, y0, x1, y1 in pixels, inside the image and with an area."""

    annotation_id: int
    category_id: int
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class IndexReport:
    """What was done to make training targets, by ids of annotations; and of images: those without a target, and those
    of an EXIF orientation, with it."""

    clipped: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    crowd: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    turned: tuple[tuple[int, int], ...] = ()

    def lines(self) -> list[str]:
        """One sentence per thing done, with counts and the first ids; nothing for what did not occur."""
        ids = {
            "boxes clipped to their image": self.clipped,
            "boxes of no area inside their image left out of training; in evaluation they count": self.dropped,
            "crowd boxes left out of training, kept for evaluation": self.crowd,
            "images without any box to train on": self.empty,
        }
        lines = [f"{text}: {listing([str(one) for one in own])}" for text, own in ids.items() if own]
        return [*lines, *turned_line([(str(one), orientation) for one, orientation in self.turned])]


@dataclass(frozen=True)
class CocoIndex:
    """One split. ``boxes[i]`` are the training targets of ``images[i]``; the order is the json's.

    annotations: the json. truth: what evaluation compares with, crowd boxes and untouched boxes among it.
    headers: of the images' files, in their order.
    """

    annotations: Path
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    boxes: tuple[tuple[Box, ...], ...]
    report: IndexReport
    truth: Truth
    headers: tuple[Header, ...]

    def __len__(self) -> int:
        return len(self.images)

    def lines(self, grey_range: tuple[int, int] | None) -> list[str]:
        """What a user is told of the split, a sentence each; decodes some images. grey_range: ``model.input``'s."""
        files = [(image.path, header) for image, header in zip(self.images, self.headers, strict=True)]
        nothing = [] if any(self.boxes) else ["warning: there is no box to find, and so no AP"]
        return [*nothing, *self.report.lines(), *depth_lines(files, grey_range)]


def read_coco(split: SplitSpec, limit: int | None = None) -> CocoIndex:
    """Read a split and check it: every image's header is opened, no pixels are decoded.

    limit: the first so many images of the json alone, as if it had no others.

    As DETR does, boxes are clipped to the image, those of no area are then dropped, and crowd boxes are no targets.
    Images without boxes stay.

    Raises: DataError with all problems at once, the first ten of each kind by id.
    """
    problems = Problems()
    document = _first(read_document(split.annotations, problems), limit)
    headers = _headers(document.images, split.images, problems)
    problems.raise_any(split.annotations)
    images = tuple(
        ImageRecord(entry.id, split.images / entry.file_name, entry.width, entry.height, entry.file_name)
        for entry in document.images
    )
    boxes, report = _boxes(document.annotations, images)
    turned = tuple(
        (image.id, own.orientation) for image, own in zip(images, headers, strict=True) if own.orientation != 1
    )
    return CocoIndex(
        annotations=split.annotations,
        categories=document.categories,
        images=images,
        boxes=boxes,
        report=replace(report, turned=turned),
        truth=truth_of(document),
        headers=tuple(headers),
    )


def _first(document: Document, limit: int | None) -> Document:
    if limit is None:
        return document
    images = document.images[:limit]
    known = {image.id for image in images}
    annotations = tuple(one for one in document.annotations if one.image_id in known)
    return replace(document, images=images, annotations=annotations)


def _headers(entries: tuple[ImageEntry, ...], folder: Path, problems: Problems) -> list[Header]:
    """The headers of the files that are sound; the others become problems."""
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            problems.add("the folder of images is a file", folder)
            return []
    except FileNotFoundError:
        problems.add("the folder of images is missing", folder)
        return []
    except OSError as error:
        problems.add("the folder of images cannot be read", f"{folder}: {error.strerror or error}")
        return []
    headers = []
    for entry in entries:
        try:
            headers.append(read_header(folder / entry.file_name))
        except DataError as error:
            missing = error.what.startswith("is missing")
            kind = "missing images" if missing else "files that are no image" if error.what == "is no image" else ""
            reason = "" if kind else f" {error.what}"
            problems.add(kind or "images that cannot be read", f"{entry.id}: {folder / entry.file_name}{reason}")
        else:
            _check_header(entry, headers[-1], problems)
    return headers


def _check_header(entry: ImageEntry, header: Header, problems: Problems) -> None:
    sizes = f"{entry.id}: {header.width}x{header.height}, json {shown(entry.width)}x{shown(entry.height)}"
    if header.mode in NOT_RGB:
        problems.add("images of a kind of pixels that has no RGB", f"{entry.id}: {NOT_RGB[header.mode]}")
    if (header.height, header.width) == (entry.width, entry.height) and entry.height != entry.width:
        problems.add("images that the json has turned (EXIF orientation is not applied)", sizes)
    elif (header.height, header.width) != (entry.height, entry.width):
        problems.add("images of another size than the json's (width x height)", sizes)


def _boxes(
    annotations: tuple[Annotation, ...], images: tuple[ImageRecord, ...]
) -> tuple[tuple[tuple[Box, ...], ...], IndexReport]:
    records = {image.id: image for image in images}
    kept: dict[int, list[Box]] = {image.id: [] for image in images}
    clipped: list[int] = []
    dropped: list[int] = []
    crowd: list[int] = []
    for one in annotations:
        x, y, width, height = one.bbox
        box = x, y, x + width, y + height
        inside = clip(box, records[one.image_id])
        if one.iscrowd:
            crowd.append(one.id)
        elif inside[0] >= inside[2] or inside[1] >= inside[3]:
            dropped.append(one.id)
        else:
            if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > CLIP_TOLERANCE:
                clipped.append(one.id)
            kept[one.image_id].append(Box(one.id, one.category_id, inside))
    empty = tuple(image.id for image in images if not kept[image.id])
    report = IndexReport(tuple(clipped), tuple(dropped), tuple(crowd), empty)
    return tuple(tuple(kept[image.id]) for image in images), report


def clip(box: tuple[float, float, float, float], image: ImageRecord) -> tuple[float, float, float, float]:
    """A box (x0, y0, x1, y1) in pixels, cut at the image's edges."""
    x0, y0, x1, y1 = box
    width, height = float(image.width), float(image.height)
    return min(max(x0, 0.0), width), min(max(y0, 0.0), height), min(max(x1, 0.0), width), min(max(y1, 0.0), height)
