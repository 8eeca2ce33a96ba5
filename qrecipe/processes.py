"""Means over the batches of all processes, and over those that one optimizer step is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Whole:
    """The optimizer step that a batch is a part of, where it is not all of it. Its loss is the mean of its parts'.

    objects: how many each image of the step has. parts: how many batches it is made of.
    share: what a mean over the images of this batch counts among its parts; 1 where all have as many.
    """

    objects: tuple[int, ...]
    parts: int
    share: float

    @property
    def boxes(self) -> float:
        """What a sum over the objects of one part is divided by, so that the step's loss is a mean over all objects."""
        return max(sum(self.objects), 1) / self.parts

    def queries(self, count: int, no_object: float) -> float:
        """The same for a sum over ``count`` queries of each image; those without an object weigh ``no_object``.

        0 where nothing has a weight.
        """
        matched = [min(objects, count) for objects in self.objects]
        return sum(own + no_object * (count - own) for own in matched) / self.parts


def global_divisor(count: Tensor) -> Tensor:
    """``max(count of all processes, 1) / processes``, a float scalar on the count's device.

    A process that divides its sum over ``count`` terms by it has the global mean once DDP has averaged over processes.
    Every process must call it.
    """
    total = count.detach().to(torch.float32, copy=True)
    processes = 1
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        processes = dist.get_world_size()
    return total.clamp(min=1) / processes


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """``total / max(count, 1)`` with the count over all processes; zero terms give zero, not NaN.

    Averaged over processes (as DDP averages gradients) this is the mean over all their terms.
    """
    return total / global_divisor(count)
