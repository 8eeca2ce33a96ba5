"""The tensors of a normalisation with running statistics, and what it multiplies each channel by."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..structure.norms import is_norm


def norm_factor(gamma: Tensor | None, variance: Tensor, eps: float) -> Tensor:
    """gamma / sqrt(var + eps), one value per channel."""
    inverse = torch.rsqrt(variance + eps)
    return inverse if gamma is None else gamma * inverse


@dataclass(frozen=True)
class Norm:
    """The names of a normalisation's tensors, and its eps."""

    path: str
    gamma: str | None
    beta: str | None
    eps: float


def norm_of(root: nn.Module, node: fx.Node) -> Norm | None:
    """The normalisation that a node calls; None where it calls none."""
    return norm_at(root, str(node.target)) if is_norm(root, node) else None


def norm_at(root: nn.Module, path: str) -> Norm:
    """The normalisation at a path."""
    module = root.get_submodule(path)
    names = {*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False))}
    eps = module.eps if isinstance(module, _BatchNorm) else _probe_eps(module)
    gamma, beta = (f"{path}.{name}" if name in names else None for name in ("weight", "bias"))
    return Norm(path, gamma, beta, float(eps))


def _probe_eps(module: nn.Module) -> float:
    """The eps of a hand-written BatchNorm, from what it makes of a one at unit variance: 1 / sqrt(1 + eps)."""
    probe = copy.deepcopy(module).double().eval()
    buffers = {**dict(probe.named_parameters(recurse=False)), **dict(probe.named_buffers(recurse=False))}
    with torch.no_grad():
        for name, value in buffers.items():
            value.fill_(1.0 if name in ("running_var", "weight") else 0.0)
        one = probe(torch.ones(1, buffers["running_var"].numel(), 1, 1, dtype=torch.float64))
    return float(f"{float(one.flatten()[0]) ** -2 - 1:.6g}")
