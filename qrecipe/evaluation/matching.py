"""Which detection finds which box: COCO's rule, without its loop over all boxes for every detection and threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
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


def match(
    ious: NDArray[np.float64], crowds: NDArray[np.bool_], ignored: NDArray[np.bool_], thresholds: Iterable[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The matches of an image and a category, in time that hardly grows with its boxes.

    A detection takes, of the boxes that are free or crowds and overlap enough, one that counts before one that does
    not, then the largest overlap, then the last. pycocotools walks through all boxes to find it; here those that
    overlap are sorted once, and no more of them are looked at than there are detections.

    Args:
        ious: (detections, boxes), the best detection first. crowds, ignored: (boxes,).

    Returns two arrays (thresholds, detections): matched, and matched with an ignored box.
    """
    levels = [min(float(value), STRICT) for value in thresholds]
    matched = np.zeros((len(levels), len(ious)), dtype=bool)
    passed = np.zeros((len(levels), len(ious)), dtype=bool)
    rows = np.flatnonzero((ious >= min(levels)).any(axis=1)) if ious.size else ()
    taken: list[set[int]] = [set() for _ in levels]
    for row in rows:
        candidates = _candidates(ious[row], min(levels), len(ious), ignored)
        for level, threshold in enumerate(levels):
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
    if len(places) > 1:
        places = places[np.lexsort((-places, -overlaps[places]))]
        places = np.concatenate([places[~ignored[places]][:most], places[ignored[places]][:most]])
    return [(int(place), float(overlaps[place])) for place in places]
