"""A quantized copy is not kept for the backward pass: it is computed again there, from what the quantizer keeps anyway.

A fake quantizer keeps its input, for the gradients of its range. The operation that reads the quantized copy keeps that
as well, for its own gradients, which doubles the memory of a training step. Here each copy remembers its origin, and an
operation that runs through :class:`Reading` keeps the origin in its place. The same quantizer makes the same values of
the same input, so gradients are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

SMALLEST = 2**12
"""Copies of fewer values are kept: they are little memory, and a call costs more than what it computes."""

_ORIGIN = "_qrecipe_origin"
_CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace operation: what a fake "
    "quantizer's result is computed from again"
)


class Origin(NamedTuple):
    """What a quantized copy was made of.

    quantize: makes it again. x: the input. own: what else it depends on, by name. version: of all these, summed, for
    a tensor's version grows with each change in place.
    strides: of the copy. autocast: whether it was on.
    """

    quantize: Callable[[Tensor], Tensor]
    x: Tensor
    own: tuple[Tensor, ...]
    version: int
    strides: tuple[int, ...]
    autocast: bool

    def again(self) -> Tensor:
        """The copy, as it lay in memory. Raises: RuntimeError: something that it depends on has changed."""
        if _version(self.x, self.own) != self.version:
            raise RuntimeError(_CHANGED)
        kind = self.x.device.type
        same = torch.is_autocast_enabled(kind) == self.autocast
        with torch.no_grad(), nullcontext() if same else torch.autocast(kind, enabled=self.autocast):
            copy = self.quantize(self.x)
        if copy.stride() != self.strides:  # an operation may read the memory as it lay
            copy = torch.empty_strided(copy.shape, self.strides, dtype=copy.dtype, device=copy.device).copy_(copy)
        return copy


def remember(copy: Tensor, quantize: Callable[[Tensor], Tensor], x: Tensor, own: Iterator[Tensor]) -> None:
    """Note on ``copy`` that it is ``quantize(x)``, where it is worth that and has a graph.

    Args:
        own: all that ``quantize`` reads beside x.
    """
    if torch.compiler.is_compiling() or not copy.requires_grad or copy is x or type(copy) is not Tensor:
        return
    if copy.numel() < SMALLEST:
        return
    x, rest = x.detach(), tuple(own)
    autocast = torch.is_autocast_enabled(x.device.type)
    origin = Origin(quantize, x, rest, _version(x, rest), copy.stride(), autocast)
    setattr(copy, _ORIGIN, origin)
    base = copy._base  # of kernels that write rows: views of the copy are views of those
    if base is not None and base.untyped_storage()._cdata != x.untyped_storage()._cdata:
        setattr(base, _ORIGIN, origin)


def _version(x: Tensor, own: tuple[Tensor, ...]) -> int:
    return x._version + sum(value._version for value in own)


_hooks_are_allowed: Callable[[], bool] = torch._C._autograd._saved_tensors_hooks_is_enabled  # type: ignore[attr-defined]


class _Part(NamedTuple):
    """A view of a copy's memory."""

    origin: Origin
    size: torch.Size
    strides: tuple[int, ...]
    offset: Any


class Reading:
    """An operation that keeps origins for its gradients where its operands remember them; else it is itself."""

    def __init__(self, operation: Callable[..., Any]) -> None:
        self.operation = operation
        self.__name__ = f"reading_{getattr(operation, '__name__', 'operation')}".replace(".", "_")
        self.__module__ = __name__
        self.__qualname__ = self.__name__

    def __call__(self, *operands: Any, **options: Any) -> Any:
        origins = _origins(operands) if torch.is_grad_enabled() else {}
        if not origins or not _hooks_are_allowed():
            return self.operation(*operands, **options)

        def pack(saved: Tensor) -> Any:
            origin = origins.get(saved.untyped_storage()._cdata)
            if origin is None:
                return saved, saved._version
            return _Part(origin, saved.shape, saved.stride(), saved.storage_offset())

        with saved_tensors_hooks(pack, _unpack):
            return self.operation(*operands, **options)


def _origins(operands: tuple[Any, ...]) -> Mapping[int, Origin]:
    """By the memory of the copy."""
    found = {}
    for operand in operands:
        for value in operand if isinstance(operand, list | tuple) else (operand,):
            origin = _origin(value) if isinstance(value, Tensor) else None
            if origin is not None:
                found[value.untyped_storage()._cdata] = origin
    return found


def _origin(value: Tensor) -> Origin | None:
    """Of a copy, or of the copy that this is a view of."""
    found: Origin | None = getattr(value, _ORIGIN, None)
    return getattr(value._base, _ORIGIN, None) if found is None else found


def _unpack(packed: Any) -> Tensor:
    if isinstance(packed, _Part):
        return packed.origin.again().as_strided(packed.size, packed.strides, packed.offset)
    saved: Tensor
    saved, version = packed  # torch does not look for changes where it is given hooks
    if saved._version != version:
        raise RuntimeError(_CHANGED)
    return saved
