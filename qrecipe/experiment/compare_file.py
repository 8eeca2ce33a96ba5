"""An exported file against its student, on the images of a split."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ..data.batch import Batch
from ..deploy import Exported, OpenedFile, Parity, alone, open_file, prepared_sizes
from ..deploy.differences import Differences
from ..errors import ExportError
from ..evaluation import detections, evaluate_results
from ..runtimes import find_runtime
from ..student import Student
from ..train.denormals import flushed_denormals
from .events import BatchScored
from .workspace import Workspace

WATCHED = 8
"""Images of the first batch whose activations are compared."""


@flushed_denormals()
@torch.no_grad()
def compare_file(
    exported: Exported,
    student: Student,
    workspace: Workspace,
    split: str = "val",
    *,
    samples: int | None = None,
    tolerance: float,
    runtime: str,
) -> Parity:
    """Run both over a split, or its first ``samples`` images, prepared as the file says. Padded images are cut out and
    run alone.

    Raises:
        ExportError: the runtime fails, or the student knows no categories. DataError: the data cannot be used.
    """
    from ..deploy.departure import find_departure

    if student.label_map is None:
        raise ExportError("the student knows no categories", where=str(exported.path), remedy="export with --no-check")
    student.eval()
    own = find_runtime(runtime)
    opened = open_file(exported.path, runtime)
    loader = workspace.batches(split, student.label_map, opened.metadata.input, train=False)
    both = _Both(student, opened)
    departure = None
    images = len(workspace.data[split].images)
    total = math.ceil(min(samples or images, images) / workspace.recipe.train.batch_size)
    for done, batch in enumerate(_first(loader, samples), start=1):
        if departure is None:
            departure = find_departure(opened, student, exported.lowered, _watchable(batch, opened), own)
        both.add(batch)
        workspace.listener(BatchScored(split, done, total))
    assert departure is not None
    truth = workspace.data[split].truth
    values = [evaluate_results(truth, results, both.seen).AP for results in (both.expected, both.found)]
    seen = len(both.seen)
    shown = both.differences.to_dict()
    return Parity(own.name, own.version(), split, seen, values[0], values[1], shown, departure, tolerance)


@dataclass
class _Both:
    """Results of both, and how far they are apart."""

    student: Student
    opened: OpenedFile
    expected: list[dict[str, Any]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    differences: Differences = field(default_factory=Differences)

    def add(self, batch: Batch) -> None:
        assert self.student.label_map is not None
        expected = alone(self.student.predict, batch.pixel_values, batch.pixel_mask)
        found = self.opened.predict(batch.pixel_values, batch.pixel_mask)
        self.differences.add(expected, found)
        self.seen.update(batch.image_ids)
        for prediction, results in ((expected, self.expected), (found, self.found)):
            results += detections(
                prediction,
                image_ids=batch.image_ids,
                sizes=batch.sizes,
                label_map=self.student.label_map,
                scores=self.student.family.scores,
            )


def _first(loader: Any, samples: int | None) -> Iterator[Batch]:
    """Batches of the first ``samples`` images; None is all."""
    left = samples
    for batch in loader:
        if left is None:
            yield batch
            continue
        count = min(left, len(batch))
        mask = None if batch.pixel_mask is None else batch.pixel_mask[:count]
        own = batch.labels[:count], batch.image_ids[:count], batch.sizes[:count]
        yield Batch(batch.pixel_values[:count], mask, *own)
        left -= count
        if not left:
            return


def _watchable(batch: Batch, opened: OpenedFile) -> torch.Tensor:
    """Images of one size without padding, as many as the file takes."""
    pixels = batch.pixel_values[:WATCHED]
    if batch.pixel_mask is not None and not bool(batch.pixel_mask[: len(pixels)].all()):
        height, width = prepared_sizes(batch.pixel_values, batch.pixel_mask)[0]
        pixels = pixels[:1, :, :height, :width]
    return opened.filled(pixels)
