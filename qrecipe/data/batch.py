"""What a model is given: images, their mask, and their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..processes import Whole

Labels = dict[str, Tensor]
"""DETR's targets of one image: ``class_labels`` int64 (n,), ``boxes`` float32 (n, 4) cxcywh in 0..1 of the transformed
image without its padding. n may be 0."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of B images, padded at the right and the bottom to one height and width.

    pixel_values: (B, 3, H, W) float32.
    pixel_mask: (B, H, W) int64, 1 = image, 0 = padding; None for models that take no mask.
    labels: one dict per image, see :data:`Labels`.
    image_ids: COCO's image ids.
    sizes: (B, 2) int64, height and width in pixels of the original images.
    whole: the optimizer step that it is a part of; None where it is all of it.
    idle: it stands in where a batch has fewer images than there are processes, and counts for nothing.
    """

    pixel_values: Tensor
    pixel_mask: Tensor | None
    labels: list[Labels]
    image_ids: list[int]
    sizes: Tensor
    whole: Whole | None = None
    idle: bool = False

    @property
    def weight(self) -> float:
        """What a mean over its images counts in the step's loss, which is the mean over all parts and processes.

        1 where each has as many images.
        """
        if self.idle:
            return 0.0
        return 1.0 if self.whole is None else len(self) * self.whole.parts / len(self.whole.objects)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with every tensor on ``device``."""
        return replace(
            self,
            pixel_values=self.pixel_values.to(device, non_blocking=non_blocking),
            pixel_mask=None if self.pixel_mask is None else self.pixel_mask.to(device, non_blocking=non_blocking),
            labels=[
                {name: value.to(device, non_blocking=non_blocking) for name, value in image.items()}
                for image in self.labels
            ],
            sizes=self.sizes.to(device, non_blocking=non_blocking),
        )

    def __len__(self) -> int:
        return len(self.image_ids)
