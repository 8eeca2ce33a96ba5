"""What COCO's rule makes of a split's detections, in columns: which count, which find a box, and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import Params
from pycocotools.mask import iou

from ..data.truth import Truth
from .matching import match


@dataclass(frozen=True)
class Outcome:
    """Detections stand by category, image and score, the best first; of an image and a category the first 100.

    image, category, rank: (n,), places among the images and categories, and among the detections of both.
    score: (n,). matched, ignored: (areas, thresholds, n), found a box; does not count.
    boxes: (areas, categories, images), how many are to be found.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    rank: NDArray[np.int64]
    score: NDArray[np.float64]
    matched: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    boxes: NDArray[np.int64]


@dataclass(frozen=True)
class _Rows:
    """Boxes or detections. group: (n,), place of the category * images + place of the image, ascending. box: (n, 4)."""

    group: NDArray[np.int64]
    box: NDArray[np.float64]

    def stretches(self) -> dict[int, slice]:
        """Where each group stands."""
        groups, starts = np.unique(self.group, return_index=True)
        ends = [*starts[1:].tolist(), len(self.group)]
        return {key: slice(start, end) for key, start, end in zip(groups.tolist(), starts.tolist(), ends, strict=False)}


def outcome_of(truth: Truth, results: Sequence[Mapping[str, Any]], params: Params) -> Outcome:
    """Match detections with boxes.

    params: pycocotools' own: images and categories sorted, thresholds, areas, numbers of detections. What is of other
    images is left out.
    """
    images, categories = np.array(params.imgIds), np.array(params.catIds)
    chosen = np.flatnonzero(np.isin(truth.image_id, images))
    group = _groups(truth.category_id[chosen], truth.image_id[chosen], categories, images)
    chosen = chosen[np.argsort(group, kind="stable")]
    boxes = _Rows(np.sort(group), truth.bbox[chosen])
    crowds, areas = truth.iscrowd[chosen], truth.area[chosen]
    found, score, rank = _ranked(results, categories, images, params.maxDets[-1])
    out_of = [(areas < low) | (areas > high) | crowds for low, high in params.areaRng]
    shape = len(params.areaRng), len(params.iouThrs), len(score)
    matched, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    where = boxes.stretches()
    for key, own in found.stretches().items():
        if key in where:
            there = where[key]
            ious = np.asarray(iou(found.box[own], boxes.box[there], crowds[there])).reshape(-1, len(crowds[there]))
            for area, pair in enumerate(_matches(ious, crowds[there], [one[there] for one in out_of], params)):
                matched[area, :, own], ignored[area, :, own] = pair
    sizes = found.box[:, 2] * found.box[:, 3]
    for area, (low, high) in enumerate(params.areaRng):
        ignored[area] |= ~matched[area] & ((sizes < low) | (sizes > high))
    cells = len(categories) * len(images)
    counts = [np.bincount(boxes.group[~out], minlength=cells).reshape(-1, len(images)) for out in out_of]
    return Outcome(
        found.group % len(images), found.group // len(images), rank, score, matched, ignored, np.stack(counts)
    )


def accumulated(outcome: Outcome, params: Params) -> dict[str, NDArray[np.float64]]:
    """``precision`` (thresholds, recalls, categories, areas, numbers of detections) and ``recall`` (without recalls),
    as pycocotools' ``accumulate`` has them: -1 where there is nothing to find."""
    wanted, most = np.asarray(params.recThrs), params.maxDets
    shape = len(params.catIds), len(params.areaRng), len(most)
    precision = -np.ones((len(params.iouThrs), len(wanted), *shape))
    recall = -np.ones((len(params.iouThrs), *shape))
    ends = np.searchsorted(outcome.category, np.arange(len(params.catIds) + 1))
    for category in range(len(params.catIds)):
        own = slice(ends[category], ends[category + 1])
        best = np.argsort(-outcome.score[own], kind="mergesort")
        orders = [best[outcome.rank[own][best] < number] for number in most]
        for area, boxes in enumerate(outcome.boxes[:, category].sum(axis=1).tolist()):
            if not boxes:
                continue
            matched, counts = outcome.matched[area][:, own], ~outcome.ignored[area][:, own]
            for place, order in enumerate(orders):
                curves = _curves((matched & counts)[:, order], (~matched & counts)[:, order], boxes)
                for level, (recalls, precisions) in enumerate(curves):
                    read = np.searchsorted(recalls, wanted, side="left")
                    read = read[read < len(precisions)]
                    precision[level, :, category, area, place] = 0.0
                    precision[level, : len(read), category, area, place] = precisions[read]
                    recall[level, category, area, place] = recalls[-1] if len(recalls) else 0.0
    return {"precision": precision, "recall": recall}


def _curves(
    true: NDArray[np.bool_], false: NDArray[np.bool_], boxes: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """By threshold, recall and the envelope of precision behind each detection. true, false: (thresholds, n)."""
    hits = np.cumsum(true, axis=1).astype(np.float64)
    misses = np.cumsum(false, axis=1).astype(np.float64)
    precision = hits / (misses + hits + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return zip(hits / boxes, envelope, strict=True)


def _matches(
    ious: NDArray[np.float64], crowds: NDArray[np.bool_], ignored: Sequence[NDArray[np.bool_]], params: Params
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """By area; most areas ignore the same boxes of an image."""
    known: dict[bytes, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}
    for own in ignored:
        key = own.tobytes()
        if key not in known:
            known[key] = match(ious, crowds, own, params.iouThrs)
        yield known[key]


def _ranked(
    results: Sequence[Mapping[str, Any]], categories: NDArray[Any], images: NDArray[Any], most: int
) -> tuple[_Rows, NDArray[np.float64], NDArray[np.int64]]:
    """The detections of the images, their scores, and their ranks within image and category."""
    image = np.array([one["image_id"] for one in results], dtype=np.int64)
    chosen = np.flatnonzero(np.isin(image, images))
    category = np.array([one["category_id"] for one in results], dtype=np.int64)[chosen]
    score = np.array([one["score"] for one in results], dtype=np.float64)[chosen]
    box = np.array([one["bbox"] for one in results], dtype=np.float64).reshape(-1, 4)[chosen]
    group = _groups(category, image[chosen], categories, images)
    order = np.lexsort((-score, group))
    group = group[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    kept = rank < most
    order = order[kept]
    return _Rows(group[kept], box[order]), score[order], rank[kept]


def _groups(
    category: NDArray[Any], image: NDArray[Any], categories: NDArray[Any], images: NDArray[Any]
) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.searchsorted(categories, category) * len(images) + np.searchsorted(images, image)
    return found
