"""A split, its json and its images, as an immutable index, checked before anything runs."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..recipe.definition import SplitSpec
from .columns import Boxes, Images
from .document import Category, Document, ImageEntry, read_document
from .fields import shown
from .images import NOT_RGB, Header, read_header
from .notices import depth_lines, turned_line
from .problems import Problems, listing
from .truth import Truth, truth_of

CLIP_TOLERANCE = 1e-3
"""Pixels. COCO's own boxes pass the border by rounding; less than this is not worth reporting."""


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
    images: Images
    boxes: Boxes
    report: IndexReport
    truth: Truth
    headers: tuple[Header, ...]

    def __len__(self) -> int:
        return len(self.images)

    def lines(self, grey_range: tuple[int, int] | None) -> list[str]:
        """What a user is told of the split, a sentence each; decodes some images. grey_range: ``model.input``'s."""
        files = [(image.path, header) for image, header in zip(self.images, self.headers, strict=True)]
        nothing = [] if self.boxes.total else ["warning: there is no box to find, and so no AP"]
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
    entries = document.images
    boxes, report = _boxes(document)
    turned = tuple(
        (entry.id, own.orientation) for entry, own in zip(entries, headers, strict=True) if own.orientation != 1
    )
    return CocoIndex(
        annotations=split.annotations,
        categories=document.categories,
        images=Images(split.images, ((one.id, one.file_name, one.width, one.height) for one in entries)),
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


def _boxes(document: Document) -> tuple[Boxes, IndexReport]:
    places = {image.id: place for place, image in enumerate(document.images)}
    keys = [(places[one.image_id], one.id, one.category_id, one.iscrowd) for one in document.annotations]
    image, key, category, crowd = np.array(keys, dtype=np.int64).reshape(-1, 4).T
    corners = np.array([one.bbox for one in document.annotations], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    sizes = np.array([(one.width, one.height) for one in document.images], dtype=np.float64).reshape(-1, 2)
    inside = clip(corners, sizes[image])
    target = ~crowd.astype(bool)
    whole = (inside[:, :2] < inside[:, 2:]).all(axis=1)
    kept = target & whole
    moved = kept & (np.abs(inside - corners).max(axis=1, initial=0.0) > CLIP_TOLERANCE)
    boxes = Boxes(len(sizes), image[kept], key[kept], category[kept], inside[kept])
    empty = tuple(document.images[place].id for place in np.flatnonzero(boxes.counts == 0))
    clipped, dropped, crowds = (tuple(key[chosen].tolist()) for chosen in (moved, target & ~whole, ~target))
    return boxes, IndexReport(clipped, dropped, crowds, empty)


def clip(corners: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes x0, y0, x1, y1 in pixels, (n, 4), cut at their images' edges; sizes: width and height of each, (n, 2)."""
    cut: NDArray[np.float64] = np.minimum(np.maximum(corners, 0.0), np.tile(sizes, 2))
    return cut
