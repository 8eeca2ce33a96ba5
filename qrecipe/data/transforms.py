"""DETR's training transforms, on a PIL image and its boxes.

Every random choice is drawn from the generator that the caller gives, so that a sample's transform is a function of
what seeded it. Resizing is Pillow's bilinear filter, which is antialiased.
Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, and its published transforms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..recipe.definition import InputSpec, TransformSpec

CROP_PROBABILITY = 0.5
CROP_RESIZES = (400, 500, 600)
CROP_SIDES = (384, 600)
FIXED_CROP = (0.6, 1.0)

Region = tuple[int, int, int, int]
"""left, top, right, bottom in whole pixels"""


@dataclass(frozen=True, eq=False)
class Sample:
    """An RGB image; boxes (n, 4) float64, corners in its pixels; classes (n,) int64."""

    image: Image.Image
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]


def augment(sample: Sample, spec: TransformSpec, inputs: InputSpec, rng: np.random.Generator) -> Sample:
    """Flip, crop and resize for training.

    Inputs of varying size: DETR's recipe. The shorter side is drawn from ``multiscale`` (else it is ``shortest``); with
    ``crop``, half of the images first go through a resize to 400, 500 or 600 and a crop of 384 to 600 pixels a side.
    Inputs of fixed size: with ``crop``, a crop of 60 to 100% of each side, skipped where it would keep no box's
    centre of an image that has boxes; then a resize that does not keep the aspect.
    """
    if rng.random() < spec.flip:
        sample = flip(sample)
    if inputs.size is not None:
        if spec.crop:
            sample = _fixed_crop(sample, rng)
        return resize(sample, *inputs.size)
    if spec.crop and rng.random() < CROP_PROBABILITY:
        sample = _random_size_crop(sample, rng)
    drawn = int(rng.choice(np.asarray(spec.multiscale))) if spec.multiscale else None
    return resize(sample, *fitted_size(sample.image.height, sample.image.width, inputs, drawn))


def fit(sample: Sample, inputs: InputSpec) -> Sample:
    """Resize for evaluation: nothing random."""
    return resize(sample, *fitted_size(sample.image.height, sample.image.width, inputs))


def fitted_size(height: int, width: int, inputs: InputSpec, shortest: int | None = None) -> tuple[int, int]:
    """(height, width) that an image of this height and width is resized to. shortest: drawn, in the input's place."""
    if inputs.size is not None:
        return inputs.size
    if inputs.within is not None:
        bounds = largest_within(height, width, *inputs.within)
        drawn = bounds if shortest is None else shortest_longest(height, width, shortest, None)
        height, width = min(bounds, drawn)
    else:
        assert shortest is not None or inputs.shortest is not None
        height, width = shortest_longest(height, width, shortest or inputs.shortest or 1, inputs.longest)
    step = inputs.multiple or 1
    return max(height // step, 1) * step, max(width // step, 1) * step


def largest_within(height: int, width: int, highest: int, widest: int) -> tuple[int, int]:
    """The largest (height, width) of the same aspect within bounds: transformers' ``max_height``, ``max_width``."""
    scale = min(highest / height, widest / width)
    return max(int(height * scale), 1), max(int(width * scale), 1)


def shortest_longest(height: int, width: int, shortest: int, longest: int | None) -> tuple[int, int]:
    """DETR's rule: (height, width) with the shorter side at ``shortest``, less where the longer would pass ``longest``.

    As in DETR the longer side is cut to whole pixels after the shorter was rounded, and so may pass ``longest`` by a
    little. Images too thin for one pixel get one, and then end at ``longest`` exactly.
    """
    low, high = min(height, width), max(height, width)
    if longest is not None and high / low * shortest > longest:
        shortest = round(longest * low / high)
        if shortest == 0:
            return (1, longest) if height < width else (longest, 1)
    if low == shortest:
        return height, width
    if width < height:
        return int(shortest * height / width), shortest
    return shortest, int(shortest * width / height)


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    boxes = sample.boxes.copy()
    boxes[:, 0] = sample.image.width - sample.boxes[:, 2]
    boxes[:, 2] = sample.image.width - sample.boxes[:, 0]
    return replace(sample, image=sample.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), boxes=boxes)


def resize(sample: Sample, height: int, width: int) -> Sample:
    """To exactly (height, width) pixels; boxes follow each side's own ratio."""
    if (sample.image.height, sample.image.width) == (height, width):
        return sample
    ratio = np.array([width / sample.image.width, height / sample.image.height] * 2)
    image = sample.image.resize((width, height), Image.Resampling.BILINEAR)
    return replace(sample, image=image, boxes=sample.boxes * ratio)


def crop(sample: Sample, region: Region) -> Sample:
    """Cut a region out; boxes are clipped to it and those of no area left are dropped."""
    left, top = region[:2]
    return _keep(sample, sample.image.crop(region), sample.boxes - np.array([left, top, left, top]))


def to_tensor(image: Image.Image, inputs: InputSpec) -> Tensor:
    """RGB image to (3, H, W) float32 in 0..1, then minus mean over std where they are given."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()
    values = pixels.to(torch.float32).div_(255)
    if inputs.mean is not None:
        values -= torch.tensor(inputs.mean).view(3, 1, 1)
    if inputs.std is not None:
        values /= torch.tensor(inputs.std).view(3, 1, 1)
    return values


def normalised(sample: Sample) -> NDArray[np.float32]:
    """Boxes (n, 4) cxcywh in 0..1 of the sample's image."""
    x0, y0, x1, y1 = sample.boxes.T
    scale = np.array([sample.image.width, sample.image.height] * 2, dtype=np.float64)
    boxes = np.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), axis=-1) / scale
    return boxes.astype(np.float32)


def _random_size_crop(sample: Sample, rng: np.random.Generator) -> Sample:
    """DETR's resize to 400, 500 or 600 and crop of 384 to 600 a side.

    Only the region is resampled: a one-pixel-wide image resized as a whole to 400 would not fit into memory.
    """
    original = sample.image
    height, width = shortest_longest(original.height, original.width, int(rng.choice(CROP_RESIZES)), None)
    low, high = CROP_SIDES
    w = int(rng.integers(low, min(width, high), endpoint=True))
    h = int(rng.integers(low, min(height, high), endpoint=True))
    left = int(rng.integers(0, width - w, endpoint=True))
    top = int(rng.integers(0, height - h, endpoint=True))
    x, y = original.width / width, original.height / height
    box = (left * x, top * y, min((left + w) * x, original.width), min((top + h) * y, original.height))
    image = original.resize((w, h), Image.Resampling.BILINEAR, box=box)
    return _keep(sample, image, sample.boxes / np.array([x, y, x, y]) - np.array([left, top, left, top]))


def _fixed_crop(sample: Sample, rng: np.random.Generator) -> Sample:
    width, height = sample.image.width, sample.image.height
    w = max(1, round(width * rng.uniform(*FIXED_CROP)))
    h = max(1, round(height * rng.uniform(*FIXED_CROP)))
    left = int(rng.integers(0, width - w, endpoint=True))
    top = int(rng.integers(0, height - h, endpoint=True))
    if len(sample.boxes):
        cx = (sample.boxes[:, 0] + sample.boxes[:, 2]) / 2
        cy = (sample.boxes[:, 1] + sample.boxes[:, 3]) / 2
        if not np.any((left <= cx) & (cx < left + w) & (top <= cy) & (cy < top + h)):
            return sample
    return crop(sample, (left, top, left + w, top + h))


def _keep(sample: Sample, image: Image.Image, boxes: NDArray[np.float64]) -> Sample:
    limit = np.array([image.width, image.height] * 2, dtype=np.float64)
    clipped = np.clip(boxes, 0, limit)
    kept = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    return Sample(image, clipped[kept], sample.classes[kept])
