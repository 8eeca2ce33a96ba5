"""Which detection finds which box: COCO's rule, without its loop over all boxes for every detection and threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import iou

STRICT = 1 - 1e-10
"""pycocotools takes thresholds above this as this."""


def overlap(box: Sequence[float], boxes: NDArray[np.float64], crowds: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The IoU of a detection with each of an image's boxes, (n,); of a crowd the share of the detection in it.

    Args:
        box: x, y, width, height. boxes: (n, 4), likewise. crowds: (n,).
    """
    found: NDArray[np.float64] = iou([box], boxes, crowds)[0] if len(boxes) else np.zeros(0)
    return found


class Matcher(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """COCOeval with the same matches in time that hardly grows with the boxes of an image.

    A detection takes, of the boxes that are free or crowds and overlap enough, one that counts before one that does
    not, then the largest overlap, then the last. pycocotools walks through all boxes to find it; here those that
    overlap are sorted once, and no more of them are looked at than there are detections.
    """

    def evaluateImg(  # noqa: N802
        self, imgId: int, catId: int, aRng: list[float], maxDet: int
    ) -> dict[str, Any] | None:
        """What ``accumulate`` reads of one image, category and range of areas; the rest of pycocotools' is left out."""
        truth, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truth and not found:
            return None
        low, high = aRng
        areas = np.array([one["area"] for one in truth])
        crowds = np.array([one["iscrowd"] for one in truth], dtype=bool)
        ignored = crowds | (areas < low) | (areas > high)
        scores = np.array([one["score"] for one in found])
        best = np.argsort(-scores, kind="mergesort")[:maxDet]
        matched, passed = self._matches(np.asarray(self.ious[imgId, catId]), len(best), crowds, ignored)
        own = np.array([found[place]["area"] for place in best])
        passed |= ~matched & ((own < low) | (own > high))
        return {
            "dtScores": scores[best].tolist(),
            "dtMatches": matched,
            "dtIgnore": passed,
            "gtIgnore": ignored.astype(int),
        }

    def _matches(
        self, ious: NDArray[np.float64], detections: int, crowds: NDArray[np.bool_], ignored: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """ious: (detections, boxes). Two arrays (thresholds, detections): matched, and matched with an ignored box."""
        thresholds = [min(float(value), STRICT) for value in self.params.iouThrs]
        matched = np.zeros((len(thresholds), detections), dtype=bool)
        passed = np.zeros((len(thresholds), detections), dtype=bool)
        if not ious.size:
            return matched, passed
        taken: list[set[int]] = [set() for _ in thresholds]
        for row in range(detections):
            candidates = _candidates(ious[row], min(thresholds), detections, ignored)
            for level, threshold in enumerate(thresholds):
                for place, overlap in candidates:
                    if overlap >= threshold and (place not in taken[level] or crowds[place]):
                        matched[level, row], passed[level, row] = True, ignored[place]
                        taken[level].add(place)
                        break
        return matched, passed


def _candidates(
    overlaps: NDArray[np.float64], least: float, most: int, ignored: NDArray[np.bool_]
) -> list[tuple[int, float]]:
    """Places and overlaps of the boxes that a detection may take, the first choice first: at most ``most`` that count
    and as many that do not, for of each no more than that can be taken already."""
    places = np.flatnonzero(overlaps >= least)
    if not len(places):
        return []
    order = places[np.lexsort((-places, -overlaps[places]))]
    kept = np.concatenate([order[~ignored[order]][:most], order[ignored[order]][:most]])
    return [(int(place), float(overlaps[place])) for place in kept]
