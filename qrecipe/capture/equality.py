"""What ``torch.equal`` gives where no values are needed: copies of nn.MultiheadAttention ask it of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental import symbolic_shapes

from .known_sizes import KnownSizes

_known_true: Callable[[Any], bool] = symbolic_shapes.statically_known_true
_EQUAL = (torch.equal, Tensor.equal)
_CLOSE = (torch.allclose, Tensor.allclose)


def known_equality(func: Callable[..., Any], args: Sequence[Any], sizes: KnownSizes) -> bool | None:
    """Whether two tensors are equal; None where that is not asked, or depends on their values.

    A tensor is equal to itself. Two whose shapes are not the same at every size of the image count as different, also
    at the one size where they happen to be of the same shape.
    """
    if func not in (*_EQUAL, *_CLOSE) or len(args) < 2 or not all(isinstance(one, Tensor) for one in args[:2]):
        return None
    left, right = args[:2]
    if left is right:
        return True
    if func in _EQUAL and not _same_shape(left, right):
        return False
    a, b = sizes.of(left), sizes.of(right)
    if func in _EQUAL and a is not None and b is not None:
        return all(bool(one == other) for one, other in zip(a, b, strict=True))
    return None


def _same_shape(left: Tensor, right: Tensor) -> bool:
    return left.ndim == right.ndim and all(_known_true(a == b) for a, b in zip(left.shape, right.shape, strict=True))
