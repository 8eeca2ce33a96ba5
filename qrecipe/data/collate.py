"""Items to a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import DataError
from .batch import Batch
from .dataset import Item


def collate(items: Sequence[Item], mask: bool) -> Batch:
    """Stack items; with ``mask``, padded with zeros at the right and the bottom to the largest height and width.

    Padding comes after normalisation, as in DETR: it is the mean colour, and the mask marks it.

    Raises: DataError when sizes differ and there is no mask to mark padding.
    """
    shapes = [(int(item.image.shape[1]), int(item.image.shape[2])) for item in items]
    if not mask and len(set(shapes)) > 1:
        seen = ", ".join(f"{item.image_id} ({h}x{w})" for item, (h, w) in zip(items, shapes, strict=True))
        raise DataError(
            f"images of one batch differ in size and the model takes no mask: {seen}",
            where="model.input",
            remedy="give the input a fixed size, or mask: true where the model reads a pixel mask",
        )
    height, width = max(h for h, _ in shapes), max(w for _, w in shapes)
    pixels = torch.zeros(len(items), 3, height, width)
    marks = torch.zeros(len(items), height, width, dtype=torch.int64)
    for row, (item, (h, w)) in enumerate(zip(items, shapes, strict=True)):
        pixels[row, :, :h, :w] = item.image
        marks[row, :h, :w] = 1
    return Batch(
        pixel_values=pixels,
        pixel_mask=marks if mask else None,
        labels=[item.labels for item in items],
        image_ids=[item.image_id for item in items],
        sizes=torch.tensor([item.size for item in items], dtype=torch.int64),
    )
