"""Means over the batches of all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


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
