"""What AP is made of, image by image: enough to score any sample of the images again, without images or boxes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EvaluateError

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision."""
BIT = 1 << np.arange(10, dtype=np.uint16)
"""Of the ten IoU thresholds."""


@dataclass(frozen=True)
class ImageMatches:
    """Matches of all areas, up to 100 detections an image. Detections stand by category, image, and score.

    images, categories: ids, sorted. boxes: (images, categories), how many are to be found: crowds are not.
    image, category: (detections,), places in these. score: (detections,).
    matched, ignored: (detections,), a bit for each IoU threshold from 0.50: found a box; does not count.
    """

    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    boxes: NDArray[np.int32]
    image: NDArray[np.int32]
    category: NDArray[np.int32]
    score: NDArray[np.float32]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]

    def AP(self, weights: NDArray[np.int64] | None = None) -> float | None:  # noqa: N802 - COCO's name
        """COCO's AP where each image is there ``weights`` times (once by default); None where nothing is to be found.

        weights: (images,).
        """
        each = np.ones(len(self.images), dtype=np.int64) if weights is None else weights
        found = [
            _precision(*counted)
            for place in range(len(self.categories))
            if (counted := self._counted(place, each)) is not None
        ]
        return float(np.mean(found)) if found else None

    def _counted(
        self, place: int, weights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int] | None:
        """True and false positives, (detections, thresholds), the best score first, and boxes; None of no box."""
        boxes = int((weights * self.boxes[:, place]).sum())
        if not boxes:
            return None
        order, true, false = self._sorted[place]
        times = weights[order, None]
        return true * times, false * times, boxes

    @cached_property
    def _sorted(self) -> list[tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]]:
        """By category: the image of each detection, best score first, and whether it is a true or a false positive."""
        found = []
        for place in range(len(self.categories)):
            own = np.flatnonzero(self.category == place)
            own = own[np.argsort(-self.score[own], kind="mergesort")]
            matched, ignored = ((bits[own, None] & BIT) > 0 for bits in (self.matched, self.ignored))
            found.append((self.image[own], matched & ~ignored, ~matched & ~ignored))
        return found

    def to_bytes(self) -> bytes:
        """A compressed ``.npz``."""
        file = io.BytesIO()
        np.savez_compressed(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> ImageMatches:
        """Raises: EvaluateError: the file is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as found:
                return cls(**{name: found[name] for name in cls.__dataclass_fields__})
        except FileNotFoundError:
            remedy = "the run was made by a version that did not keep them: run it again"
            raise EvaluateError("there are no matches of single images", where=str(path), remedy=remedy) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise EvaluateError(f"the file is damaged: {error}", where=str(path)) from error


def matches_of(run: Any) -> ImageMatches:
    """run: a COCOeval that has evaluated."""
    images, categories = np.array(run.params.imgIds), np.array(run.params.catIds)
    areas = len(run.params.areaRng)
    boxes = np.zeros((len(images), len(categories)), dtype=np.int32)
    columns: dict[str, list[Any]] = {name: [] for name in ("image", "category", "score", "matched", "ignored")}
    for column in range(len(categories)):
        first = column * areas * len(images)  # the first range of areas is all of them
        for row, one in enumerate(run.evalImgs[first : first + len(images)]):
            if one is None:
                continue
            boxes[row, column] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
            count = len(one["dtScores"])
            columns["image"].append(np.full(count, row))
            columns["category"].append(np.full(count, column))
            columns["score"].append(one["dtScores"])
            columns["matched"].append(_bits(one["dtMatches"]))
            columns["ignored"].append(_bits(one["dtIgnore"]))
    types = {"score": np.float32, "matched": np.uint16, "ignored": np.uint16}
    whole = {name: _joined(parts, types.get(name, np.int32)) for name, parts in columns.items()}
    return ImageMatches(images, categories, boxes, **whole)


def _bits(levels: Any) -> NDArray[np.uint16]:
    """(thresholds, detections) as one number for each detection."""
    found: NDArray[np.uint16] = (np.asarray(levels).astype(bool).T * BIT[: len(levels)]).sum(axis=1).astype(np.uint16)
    return found


def _joined(parts: Sequence[Any], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.asarray(part, dtype=kind) for part in parts]) if parts else np.zeros(0, dtype=kind)


def _precision(true: NDArray[np.int64], false: NDArray[np.int64], boxes: int) -> float:
    """The mean over thresholds and recalls, as pycocotools has it: the envelope of precision, read at 101 recalls."""
    if not len(true):
        return 0.0
    hits, misses = np.cumsum(true, axis=0), np.cumsum(false, axis=0)
    precision = hits / np.maximum(hits + misses, np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    total = 0.0
    for level in range(true.shape[1]):
        places = np.searchsorted(hits[:, level] / boxes, RECALLS, side="left")
        total += envelope[places[places < len(hits)], level].sum()
    return float(total / (true.shape[1] * len(RECALLS)))
