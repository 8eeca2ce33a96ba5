"""Runs a model over a split and scores it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, Protocol

import torch

from ..data.batch import Batch
from ..data.labels import LabelMap
from ..data.truth import Truth
from ..detection.prediction import Scores
from ..errors import EvaluateError
from ..processes import from_first, gathered
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

    Of several processes each has the batches of its turn; the scores are of all, and the results in the order in which
    one process would have them.

    predict: moves the batch to its device and returns logits and boxes; the model is in evaluation mode already.
    progress: called after each batch with (batches done, batches in all).

    Raises: EvaluateError for outputs that are not finite, an image that came twice, or a head that the map does not
        fit; DataError for images that cannot be read.
    """
    own: list[tuple[list[int], list[Result]]] = []
    total = len(loader)
    with torch.no_grad():
        for done, batch in enumerate(loader, start=1):
            found = detections(
                predict(batch),
                image_ids=batch.image_ids,
                sizes=batch.sizes,
                label_map=label_map,
                scores=scores,
            )
            own.append((batch.image_ids, found))
            if progress is not None:
                progress(done, total)
    turns = [turn for turns in zip_longest(*gathered(own)) for turn in turns if turn is not None]
    images = Counter(image_id for ids, _ in turns for image_id in ids)
    twice = [image_id for image_id, times in images.items() if times > 1]
    if twice:
        raise EvaluateError(f"image {twice[0]} came twice", where=str(truth.annotations))
    results = [result for _, found in turns for result in found]
    return from_first(lambda: evaluate_results(truth, results, images)), results
