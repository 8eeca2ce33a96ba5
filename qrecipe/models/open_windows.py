"""transformers' Swin, written so that the sizes of its windows stay open while a detector around it is captured."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SWIN = "transformers.models.swin.modeling_swin"


@contextmanager
def open_windows(model: nn.Module) -> Iterator[None]:
    """While it is entered, Swin layers compute the same values by arithmetic that a capture can follow.

    Swin pads what its windows do not divide, with one branch where they do and one where not, and infers its batch
    from the number of windows. torch.export reasons about each such size in terms of the image's, which takes minutes
    for a tiny Swin of four stages. Here every map is padded (by nothing, where it fits) to a number of windows times
    their side, which needs no reasoning. Nothing is touched if there is no Swin in the model.
    """
    if not any(type(part).__module__ == SWIN for part in model.modules()):
        yield
        return
    module = importlib.import_module(SWIN)
    kept = [(getattr(module, kind), name, getattr(getattr(module, kind), name)) for kind, name, _ in STAND_INS]
    for (owner, name, _), (_, _, stand_in) in zip(kept, STAND_INS, strict=True):
        setattr(owner, name, stand_in)
    try:
        yield
    finally:
        for owner, name, before in kept:
            setattr(owner, name, before)


def _whole(extent: Any, side: int) -> Any:
    """How many pieces of ``side`` cover an extent."""
    return (extent + side - 1) // side


def _padded(maps: Tensor, height: Any, width: Any) -> Tensor:
    """(batch, height, width, channels), with zeros below and on the right of a smaller map."""
    return F.pad(maps, (0, 0, 0, width - maps.shape[2], 0, height - maps.shape[1]))


def _pad_patches(self: Any, pixel_values: Tensor, height: Any, width: Any) -> Tensor:
    """``SwinPatchEmbeddings.maybe_pad``: images (batch, channels, height, width), padded to whole patches."""
    high, wide = self.patch_size
    return F.pad(pixel_values, (0, _whole(width, wide) * wide - width, 0, _whole(height, high) * high - height))


def _merge(self: Any, input_feature: Tensor, input_dimensions: tuple[Any, Any]) -> Tensor:
    """``SwinPatchMerging.forward``: every 2x2 patches become one, column by column."""
    height, width = input_dimensions
    batch, _, channels = input_feature.shape
    high, wide = _whole(height, 2), _whole(width, 2)
    maps = _padded(input_feature.view(batch, height, width, channels), high * 2, wide * 2)
    fours = maps.view(batch, high, 2, wide, 2, channels).permute(0, 1, 3, 4, 2, 5)
    merged: Tensor = self.reduction(self.norm(fours.reshape(batch, high * wide, 4 * channels)))
    return merged


def _attend(
    self: Any, hidden_states: Tensor, input_dimensions: tuple[Any, Any], always_partition: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """``SwinLayer.forward``: attention within (shifted) windows, then the feed-forward part."""
    if not always_partition:
        self.set_shift_and_window_size(input_dimensions)
    height, width = input_dimensions
    batch, _, channels = hidden_states.shape
    side = self.window_size
    high, wide = _whole(height, side), _whole(width, side)
    maps = self.layernorm_before(hidden_states).view(batch, height, width, channels)
    maps = self.cyclic_shift(_padded(maps, high * side, wide * side))
    windows = maps.view(batch, high, side, wide, side, channels).transpose(2, 3)
    windows = windows.reshape(batch * high * wide, side * side, channels)
    attended, weights = self.attention(windows, _mask(self, high, wide, maps), **kwargs)
    maps = self.dropout(attended).view(batch, high, wide, side, side, channels).transpose(2, 3)
    maps = self.cyclic_shift(maps.reshape(batch, high * side, wide * side, channels), reverse=True)
    maps = maps[:, :height, :width].reshape(batch, height * width, channels)
    hidden_states = hidden_states + self.drop_path(maps)
    return self.dropout(self.mlp(self.layernorm_after(hidden_states))) + hidden_states, weights


def _mask(layer: Any, high: Any, wide: Any, like: Tensor) -> Tensor | None:
    """(windows, side^2, side^2), -100 between places that a shift has brought together; None without a shift."""
    if layer.shift_size <= 0:
        return None
    side = layer.window_size

    def regions(count: Any) -> Tensor:
        index = torch.arange(count * side, device=like.device)
        bounds = (count * side - side, count * side - layer.shift_size)
        return torch.stack([index >= bound for bound in bounds]).long().sum(0)

    areas = (regions(high)[:, None] * 3 + regions(wide)).to(like.dtype)
    areas = areas.view(high, side, wide, side).transpose(1, 2).reshape(high * wide, side * side)
    apart = areas.unsqueeze(1) != areas.unsqueeze(2)
    mask: Tensor = torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, -100.0)
    return mask


STAND_INS: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("SwinPatchEmbeddings", "maybe_pad", _pad_patches),
    ("SwinPatchMerging", "forward", _merge),
    ("SwinLayer", "forward", _attend),
)
"""Class, method, and what stands in for it. Each gives its method's values, to the bit."""
