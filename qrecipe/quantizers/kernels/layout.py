"""A tensor of any strides as rows (R, N) that each have one scale: what the fused kernels work on.

One layout for all cases keeps the number of kernels at two. A permuted dense tensor (a transposed attention operand,
channels_last) is read in its memory order, without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from torch import Tensor

# The compiler makes a second kernel, with another summation, for longer rows. Long tensors are cut by a divisor.
LONGEST_ROW = 4096
# Cutting into shorter rows than this costs more than a second kernel.
SHORTEST_CUT = 32


@dataclass(frozen=True)
class Rows:
    """How to read tensors of one shape as rows, and back.

    order: the permutation into memory order; inverse: back; None where memory order is the tensor's own.
    shape: the permuted shape.
    length: N. R and N are at least 2: size 1 would make the compiler specialise.
    outer, size, parts: the rows are outer x size x parts, in this order, and ``size`` counts the scales.
    """

    order: tuple[int, ...] | None
    inverse: tuple[int, ...] | None
    shape: tuple[int, ...]
    length: int
    outer: int
    size: int
    parts: int

    def read(self, x: Tensor) -> Tensor:
        """x as (R, N), outside autograd: a view where x has this memory order, else a copy."""
        x = x.detach()
        return (x if self.order is None else x.permute(self.order)).contiguous().view(-1, self.length)

    def write(self, rows: Tensor) -> Tensor:
        """(R, N) as a view with the tensor's shape and this memory order."""
        x = rows.view(self.shape)
        return x if self.inverse is None else x.permute(self.inverse)

    def spread(self, values: Tensor) -> Tensor:
        """(size,) -> (R,), one value per row."""
        if self.outer == self.parts == 1:
            return values.detach()
        # A copy, never an expanded view: the kernels are compiled for dense rows.
        return values.detach().view(1, self.size, 1).expand(self.outer, self.size, self.parts).contiguous().view(-1)

    def gather(self, values: Tensor) -> Tensor:
        """(R,) -> (size,), summed over the rows that share a scale."""
        if self.outer == self.parts == 1:
            return values
        return values.view(self.outer, self.size, self.parts).sum((0, 2))


def rows_of(x: Tensor, size: int, axis: int | None) -> Rows | None:
    """The rows of ``x``, or None where it has none worth a kernel (empty, tiny, or one value per row).

    Args:
        x: any shape and strides.
        size: the number of scales: 1, or x.shape[axis].
        axis: the dimension with its own scales.
    """
    if x.is_contiguous():
        return _rows(tuple(x.shape), None, size, axis)
    return _rows(tuple(x.shape), memory_order(x), size, axis)


@lru_cache(maxsize=4096)
def _rows(extents: tuple[int, ...], order: tuple[int, ...] | None, size: int, axis: int | None) -> Rows | None:
    """:func:`rows_of`, kept: a model asks for the same few shapes at every step."""
    shape = extents if order is None else tuple(extents[dim] for dim in order)
    inverse = None if order is None else tuple(sorted(range(len(order)), key=order.__getitem__))
    outer, inner = 1, prod(shape)
    if size > 1:
        if axis is None:
            raise ValueError(f"{size} scales need an axis")
        place = axis % len(shape) if order is None else order.index(axis % len(shape))
        if shape[place] != size:
            raise ValueError(f"{size} scales along dimension {axis} of {extents}")
        outer, inner = prod(shape[:place]), prod(shape[place + 1 :])
    length = _divisor(inner, fewest=2 if outer * size < 2 else 1)
    if inner == 0 or outer == 0 or length < 2:
        return None
    parts = inner // length
    return Rows(order, inverse, shape, length, outer, size, parts) if outer * size * parts >= 2 else None


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """Dimensions from the slowest to the fastest in memory; None if x is not dense in any order."""
    return _memory_order(tuple(x.shape), x.stride())


@lru_cache(maxsize=4096)
def _memory_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    order = sorted(range(len(shape)), key=lambda dim: (-strides[dim], dim))
    expected = 1
    for dim in reversed(order):
        if shape[dim] != 1:
            if strides[dim] != expected:
                return None
            expected *= shape[dim]
    return tuple(order)


def laid_out(x: Tensor) -> Tensor:
    """x itself where an operation reads it without a copy, else one by rows: an operation then makes none.

    A product folds its leading dimensions, a linear layer all but the last, a convolution takes its channels last.
    """
    if x.is_contiguous() or _is_read(tuple(x.shape), x.stride()):
        return x
    return x.contiguous()


@lru_cache(maxsize=4096)
def _is_read(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    order = _memory_order(shape, strides)
    if order is None:
        return False
    # A product reads its matrices transposed; what has three dimensions is taken for a linear layer's.
    fixed = 2 if len(shape) == 3 else 3
    folded = all(strides[dim] == strides[dim + 1] * shape[dim + 1] for dim in range(len(shape) - fixed))
    return folded or (len(shape) in (4, 5) and order == (0, *range(2, len(shape)), 1))


@lru_cache(maxsize=4096)
def cut_of(
    shape: tuple[int, ...], strides: tuple[int, ...] | None, size: int, axis: int | None
) -> tuple[int, int, int] | None:
    """(outer, size, inner): a tensor as its memory has it; None where it is not dense.

    Args:
        strides: None where it is contiguous. size: the number of scales, 1 or shape[axis].

    Raises: ValueError: ``size`` scales do not fit it.
    """
    if size > 1 and (axis is None or shape[axis] != size):
        raise ValueError(f"{size} scales along dimension {axis} of {shape}")
    order = tuple(range(len(shape))) if strides is None else _memory_order(shape, strides)
    if order is None:
        return None
    if size == 1 or axis is None:
        return 1, 1, prod(shape)
    place = order.index(axis % len(shape))
    before, after = (prod(shape[dim] for dim in dims) for dims in (order[:place], order[place + 1 :]))
    return before, size, after


def _divisor(total: int, fewest: int) -> int:
    """The longest row that cuts ``total`` evenly, into at least so many; 0 if there is none."""
    if total == 0:
        return 0
    longest = total // fewest
    for length in range(min(LONGEST_ROW, longest), SHORTEST_CUT - 1, -1):
        if total % length == 0:
            return length
    # Small, or with an awkward factor: whole where it may be, else the best cut.
    for length in range(longest, 0, -1):
        if total % length == 0:
            return length
    return 0
