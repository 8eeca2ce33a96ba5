"""What AP is made of, image by image: enough to score any sample of the images again, without images or boxes."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import Params

from ..errors import EvaluateError
from .outcome import Outcome

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision."""
BIT = 1 << np.arange(10, dtype=np.uint16)
"""Of the ten IoU thresholds."""


@dataclass(frozen=True)
class _Ranked:
    """The detections of a category, best score first. image: of each. hits: by threshold, where true positives stand.

    ignored: by threshold, what counts neither way; None where everything counts.
    """

    image: NDArray[np.int32]
    hits: list[NDArray[np.int64]]
    ignored: list[NDArray[np.bool_] | None]

    @classmethod
    def of(cls, image: NDArray[np.int32], matched: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> _Ranked:
        """matched, ignored: (detections, thresholds)."""
        hits = [np.flatnonzero(matched[:, level] & ~ignored[:, level]) for level in range(len(BIT))]
        passed = [ignored[:, level] if ignored[:, level].any() else None for level in range(len(BIT))]
        return cls(image, hits, passed)

    def precision(self, weights: NDArray[np.int64], boxes: int) -> float:
        """The mean over thresholds and recalls, as pycocotools has it: the envelope of precision, read at 101 recalls.

        Precision is looked at where true positives stand alone: false ones between them only lower it.
        """
        times = weights[self.image]
        counted = np.cumsum(times)
        total = 0.0
        for places, ignored in zip(self.hits, self.ignored, strict=True):
            if not len(places):
                continue
            hits = np.cumsum(times[places])
            seen = counted[places] if ignored is None else np.cumsum(times * ~ignored)[places]
            envelope = np.maximum.accumulate((hits / np.maximum(seen, 1))[::-1])[::-1]
            read = np.searchsorted(hits / boxes, RECALLS, side="left")
            total += envelope[read[read < len(hits)]].sum()
        return float(total / (len(BIT) * len(RECALLS)))


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

        weights: (images,). Of an image that is there several times, detections of the very same score come one behind
            the other, each as often; written out that often, they would come image by image.
        """
        each = np.ones(len(self.images), dtype=np.int64) if weights is None else weights
        found = []
        for place, ranked in enumerate(self._ranked):
            boxes = int((each * self.boxes[:, place]).sum())
            if boxes:
                found.append(ranked.precision(each, boxes))
        return float(np.mean(found)) if found else None

    @cached_property
    def _ranked(self) -> list[_Ranked]:
        """By category."""
        found = []
        for place in range(len(self.categories)):
            own = np.flatnonzero(self.category == place)
            own = own[np.argsort(-self.score[own], kind="mergesort")]
            matched, ignored = ((bits[own, None] & BIT) > 0 for bits in (self.matched, self.ignored))
            found.append(_Ranked.of(self.image[own], matched, ignored))
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


def matches_of(outcome: Outcome, params: Params) -> ImageMatches:
    """Those of all areas: pycocotools' first range."""
    matched, ignored = (_bits(levels[0]) for levels in (outcome.matched, outcome.ignored))
    return ImageMatches(
        np.array(params.imgIds),
        np.array(params.catIds),
        np.ascontiguousarray(outcome.boxes[0].T, dtype=np.int32),
        outcome.image.astype(np.int32),
        outcome.category.astype(np.int32),
        outcome.score.astype(np.float32),
        matched,
        ignored,
    )


def _bits(levels: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """(thresholds, detections) as one number for each detection."""
    found: NDArray[np.uint16] = np.zeros(levels.shape[1], dtype=np.uint16)
    for bit, level in zip(BIT, levels, strict=True):
        found |= level * bit
    return found
