"""Which of a detector's inputs are images and masks, and which are lists of something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def image_shape(inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The shape of the images, (batch, channels, height, width); of the first input where none has four dimensions."""
    found = next((value for value in inputs.values() if value.ndim == 4), None)
    return tuple((next(iter(inputs.values())) if found is None else found).shape)


def like_images(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs that end in the images' height and width: the images, and their masks."""
    extent = image_shape(inputs)[-2:]
    return {name: value for name, value in inputs.items() if value.ndim >= 3 and tuple(value.shape[-2:]) == extent}


def dynamic_dims(inputs: Mapping[str, Tensor]) -> dict[str, dict[int, Any]]:
    """What may vary: batch, height and width of images; of other inputs whatever the model leaves open."""
    dynamic, open_ = torch.export.Dim.DYNAMIC, torch.export.Dim.AUTO
    images = like_images(inputs)
    return {
        name: {0: dynamic, value.ndim - 2: dynamic, value.ndim - 1: dynamic}
        if name in images
        else {0: dynamic, **dict.fromkeys(range(1, value.ndim), open_)}
        for name, value in inputs.items()
    }
