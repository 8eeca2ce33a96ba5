"""Runs a model over a split and scores it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from ..data.batch import Batch
from ..data.labels import LabelMap
from ..data.truth import Truth
from ..detection.prediction import Scores
from ..errors import EvaluateError
from .coco import Evaluation, evaluate_results
from .detections import Outputs, Result, detections


class Batches(Protocol):
    """Anything of known length that yields :class:`Batch`."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


def evaluate_model(
    predict: Callable[[Batch], Outputs],
    loader: Batches,
    label_map: LabelMap,
    scores: Scores,
    truth: Truth,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Evaluation, list[Result]]:
    """Predict every batch without gradients and score the images that the loader gave.

    predict: moves the batch to its device and returns logits and boxes; the model is in evaluation mode already.
    progress: called after each batch with (batches done, batches in all).

    Raises: EvaluateError for outputs that are not finite, an image that came twice, or a head that the map does not
        fit; DataError for images that cannot be read.
    """
    results: list[Result] = []
    seen: set[int] = set()
    total = len(loader)
    with torch.no_grad():
        for done, batch in enumerate(loader, start=1):
            for image_id in batch.image_ids:
                if image_id in seen:
                    raise EvaluateError(f"image {image_id} came twice", where=str(truth.annotations))
                seen.add(image_id)
            results += detections(
                predict(batch),
                image_ids=batch.image_ids,
                sizes=batch.sizes,
                label_map=label_map,
                scores=scores,
            )
            if progress is not None:
                progress(done, total)
    return evaluate_results(truth, results, seen), results
