"""Moves scales of channels between the weights of a chain, until both ends have the same range, channel by channel.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019,
arXiv 1906.04721), equation 11: s_i = sqrt(r1_i r2_i) / r2_i. The parameters themselves are scaled, those of a BatchNorm
in place of the convolution before it: nothing is added to the graph, and nothing else has to be saved.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..graph.captured import Captured
from ..planning.plan import Plan
from ..structure import Chain
from .channels import FARTHEST, divide, multiply, read_range, tensor_at
from .conditions import NOTHING_QUANTIZED
from .norms import norm_at, norm_factor
from .rewrite import Pass, PassReport

SWEEPS = 20
"""Chains that share a weight are taken in turn, at most so often."""
SETTLED = 1e-3
"""Of a scale's distance from 1, at which a sweep is the last."""


def equalize(captured: Captured, plan: Plan) -> PassReport:
    """Scale the parameters of all planned chains, in sweeps until nothing moves any more."""
    total = {chain.source: torch.ones(chain.channels, dtype=torch.float64) for chain in plan.equalized}
    for _ in range(SWEEPS):
        farthest = 0.0
        for chain in plan.equalized:
            scale = equalizing_scale(captured.root, chain)
            so_far = total[chain.source].to(scale.device)
            scale = (so_far * scale).clamp(1 / FARTHEST, FARTHEST) / so_far
            total[chain.source] = so_far * scale
            divide(captured.root, chain, scale)
            multiply(captured.root, chain, scale)
            farthest = max(farthest, float((scale.log2()).abs().max()))
        if farthest < SETTLED:
            break
    return PassReport("equalize", len(total), len(plan.equalized), "chains equalized")


EQUALIZE = Pass(equalize, requires=(NOTHING_QUANTIZED,))


@torch.no_grad()
def equalizing_scale(root: nn.Module, chain: Chain) -> Tensor:
    """s of equation 11, (channels,) in float64; 1 for channels that are zero at either end."""
    first = tensor_at(root, chain.source).detach().double().abs().flatten(1).amax(1)
    if chain.norm:
        norm = norm_at(root, chain.norm)
        gamma = tensor_at(root, norm.gamma).double() if norm.gamma else None
        first = first * norm_factor(gamma, tensor_at(root, f"{chain.norm}.running_var").double(), norm.eps).abs()
    second = read_range(root, chain)
    alive = (first > 0) & (second > 0) & torch.isfinite(first) & torch.isfinite(second)
    return torch.where(alive, (first / torch.where(alive, second, 1.0)).sqrt(), 1.0)
