"""The second moment of what a weight multiplies: with it the error of an operation's output is a quadratic form.

For a row w of the weight and its quantized form w_hat, E[((w - w_hat) x)^2] = (w - w_hat) E[x x^T] (w - w_hat)^T. A
convolution multiplies its weight with patches, each group of channels with its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .sampling import spread_sample

# Places taken of one batch, over all its images, and at least so many of each image.
PLACES = 8192
PLACES_PER_IMAGE = 256


class InputMoment:
    """Sums x x^T over places, batch by batch: (groups, K, K) is all that it keeps."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._places = 0

    @torch.no_grad()
    def update(self, columns: Tensor) -> None:
        """Take in what a weight multiplies, (groups, K, places): each column is one x."""
        columns = columns.detach().to(torch.promote_types(columns.dtype, torch.float32))
        product = columns @ columns.mT
        self._sum = product if self._sum is None else self._sum.add_(product)
        self._places += columns.shape[-1]

    def result(self) -> Tensor | None:
        """The mean of x x^T, (groups, K, K); None where nothing was seen."""
        return None if self._sum is None or self._places == 0 else self._sum / self._places


def linear_columns(x: Tensor) -> Tensor:
    """What a linear layer multiplies: (..., K) to (1, K, places), at most PLACES of them, evenly spread."""
    return spread_sample(x.reshape(-1, x.shape[-1]).mT, PLACES)[None]


def conv_columns(
    image: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    limit: int,
) -> Tensor:
    """The patches of one image (channels, height, width), (groups, channels / groups * kernel, places).

    Args:
        kernel, stride, dilation: (vertical, horizontal). padding: likewise, or ``same`` or ``valid``.
        limit: of places; what is beyond is left out evenly.
    """
    reach = [extent * (size - 1) for extent, size in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):
        before = [way // 2 if padding == "same" else 0 for way in reach]
        after = [way - own if padding == "same" else 0 for way, own in zip(reach, before, strict=True)]
    else:
        before = after = list(padding)
    padded = F.pad(image[None], (before[1], after[1], before[0], after[0]))
    patches = F.unfold(padded, kernel, dilation=dilation, stride=stride)[0]
    return spread_sample(patches, limit).reshape(groups, patches.shape[0] // groups, -1)
