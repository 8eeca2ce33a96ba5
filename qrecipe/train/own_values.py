"""What each of several processes has of its own within an epoch: it goes with a training that is ended there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..processes import gathered, rank


def unlike_first(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """By process, on the CPU, those of its values that are not the first one's: none of its own for the first.

    Only they are sent. Every process must call it, with the same names.
    """
    sums = gathered({name: _sum(value) for name, value in values.items()})
    mine, first = sums[rank()], sums[0]
    return gathered({name: value.detach().cpu() for name, value in values.items() if mine[name] != first[name]})


@torch.no_grad()
def put(values: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Write values that a process had of its own back into its tensors of the same names."""
    for name, value in values.items():
        into[name].copy_(value)


def _sum(value: Tensor) -> str:
    return hashlib.sha256(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
