"""What each of several processes has of its own within an epoch: it goes with a training that is ended there."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..graph.checksum import checksum
from ..processes import count, gathered, rank


def unlike_first(values: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """By process, on the CPU, those of its values that are not the first one's: none of its own for the first.

    Only they are sent. Every process must call it, with the same names.
    """
    if count() == 1:
        return [{}]
    sums = gathered({name: checksum(value) for name, value in values.items()})
    mine, first = sums[rank()], sums[0]
    return gathered({name: value.detach().cpu() for name, value in values.items() if mine[name] != first[name]})
