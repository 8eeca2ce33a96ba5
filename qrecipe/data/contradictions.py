"""What a recipe asks of its data that its model's input or the data rules out: known before a batch is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..recipe.consistency import MULTISCALE
from ..recipe.definition import InputSpec, KeyPath, TransformSpec
from .coco import CocoIndex
from .transforms import fitted_size

Finding = tuple[KeyPath, str, str]
"""The key to point at, what is wrong, and the remedy."""

INPUT: KeyPath = ("model", "input")


def input_findings(inputs: InputSpec) -> Iterator[Finding]:
    """Whether the size of inputs is settled."""
    if inputs.size is None and inputs.shortest is None and inputs.within is None:
        yield INPUT, "the input has neither size nor shortest nor within", "give one of the three"


def transform_findings(spec: TransformSpec, inputs: InputSpec) -> Iterator[Finding]:
    """Whether training's transforms can be made of inputs of this kind."""
    yield from input_findings(inputs)
    if inputs.size is not None and spec.multiscale:
        yield ("data", "transforms", "multiscale"), *MULTISCALE


def batch_findings(
    index: CocoIndex,
    inputs: InputSpec,
    batch_size: int,
    transforms: TransformSpec | None = None,
    batches: int | None = None,
) -> Iterator[Finding]:
    """Whether images of several sizes would come together in a batch of a model that takes no mask.

    Args:
        transforms: training's, whose order is random; without them batches are made in the order of the index.
        batches: only so many of them.
    """
    if inputs.mask or any(input_findings(inputs)) or batch_size == 1 or len(index) < 2:
        return
    what = "images of one batch differ in size and the model takes no mask"
    remedy = "give the input a fixed size, or mask: true where the model reads a pixel mask, or train.batch_size: 1"
    if transforms is not None and inputs.size is None:
        for key, drawn in (("multiscale", len(set(transforms.multiscale)) > 1), ("crop", transforms.crop)):
            if drawn:
                drawing = f"{key} draws a size for each image: {what}"
                yield ("data", "transforms", key), drawing, f"leave it out; or {remedy}"
                return
    sizes = [fitted_size(one.height, one.width, inputs) for one in index.images]
    step = len(sizes) if transforms is not None else batch_size
    for start in range(0, len(sizes), step)[:batches]:
        other = _differing(sizes[start : start + step])
        if other is not None:
            places = start, start + other
            pair = " and ".join(f"{index.images[place].id} ({sizes[place][0]}x{sizes[place][1]})" for place in places)
            yield INPUT, f"{what}: {pair}", remedy
            return


def _differing(sizes: Sequence[tuple[int, int]]) -> int | None:
    """The place of the first size that is not the first one's."""
    return next((place for place, size in enumerate(sizes) if size != sizes[0]), None)


def training_findings(index: CocoIndex) -> Iterator[Finding]:
    """Whether there is anything to train on."""
    if not index.boxes.total:
        what = "there is no box to train on: a detector would learn to find nothing"
        yield ("data", "train"), what, "name a json with boxes, or set train.epochs: 0 to calibrate alone"
