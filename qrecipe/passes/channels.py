"""Scales the channels of a chain, in its parameters: what the model computes stays.

Tied parameters are one tensor in all their places, and a chain has all places of its tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..structure import Chain, ChainReader
from .norms import norm_at, norm_factor

FARTHEST = 1e4
"""No channel is scaled by more than this or less than its inverse, whatever is next to nothing in it."""


@torch.no_grad()
def divide(root: nn.Module, chain: Chain, scale: Tensor) -> None:
    """Divide what gives the channels. scale: (channels,), > 0."""
    for name in chain.divided:
        value = tensor_at(root, name)
        value.copy_(value.double() / _column(scale, value.dim()))


@torch.no_grad()
def multiply(root: nn.Module, chain: Chain, scale: Tensor) -> None:
    """Multiply the weights that read the channels. scale: (channels,), > 0."""
    for reader in chain.readers:
        weight = tensor_at(root, reader.weight)
        by_group = weight.double().reshape(reader.groups, -1, *weight.shape[1:])
        own = scale.reshape(reader.groups, 1, weight.shape[1], *[1] * (weight.dim() - 2))
        weight.copy_((by_group * own).reshape(weight.shape))


@torch.no_grad()
def read_range(root: nn.Module, chain: Chain) -> Tensor:
    """The largest magnitude of the weights that read each channel, as they are quantized: (channels,), float64."""
    return torch.stack([_range(root, reader) for reader in chain.readers]).amax(0)


def _range(root: nn.Module, reader: ChainReader) -> Tensor:
    weight = tensor_at(root, reader.weight).detach().double().abs()
    if reader.norm:
        norm = norm_at(root, reader.norm)
        gamma = tensor_at(root, norm.gamma).double() if norm.gamma else None
        factor = norm_factor(gamma, tensor_at(root, f"{reader.norm}.running_var").double(), norm.eps).abs()
        weight = weight * _column(factor, weight.dim())
    by_group = weight.reshape(reader.groups, -1, *weight.shape[1:]).amax(1)
    return by_group.flatten(2).amax(2).flatten() if weight.dim() > 2 else by_group.flatten()


def _column(values: Tensor, dims: int) -> Tensor:
    return values.reshape(-1, *[1] * (dims - 1))


def tensor_at(root: nn.Module, path: str) -> Tensor:
    """The parameter or buffer of that name, itself."""
    owner, _, name = path.rpartition(".")
    value: Tensor = getattr(root.get_submodule(owner), name)
    return value
