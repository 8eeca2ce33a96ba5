"""Moves the outliers of activations behind a LayerNorm into the linear layers that read them.

Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (ICML
2023, arXiv 2211.10438), equation 4: s_j = max|X_j|^alpha / max|W_j|^(1 - alpha). The LayerNorm's own weight and bias
are divided by s and the linear layers' weights multiplied, so that nothing is added. Once smoothed, s is 1: smoothing
again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..passes.channels import FARTHEST, divide, multiply, read_range
from ..structure import Chain
from ..structure.operands import OPERATORS, SITES
from .batch_interpreter import BatchInterpreter
from .deployable import Deployable


class MagnitudeRun(BatchInterpreter[str]):
    """Runs the real-valued graph; keeps what smoothing asks for, by the chains' sources."""

    def __init__(self, deployable: Deployable, chains: Sequence[Chain]) -> None:
        super().__init__(deployable, _readers(deployable.graph, chains))
        self._largest: dict[str, Tensor] = {}

    def largest(self, chain: Chain) -> Tensor | None:
        """The largest magnitude of each channel that the chain's readers saw, (channels,); None where they saw none."""
        return self._largest.get(chain.source)

    def visit(self, node: fx.Node, of: str, operands: tuple[Any, ...]) -> None:
        if operands[0].numel():
            own = operands[0].detach().abs().flatten(0, -2).amax(0).double()
            self._largest[of] = torch.maximum(self._largest[of], own) if of in self._largest else own


def _readers(graph: fx.Graph, chains: Sequence[Chain]) -> dict[fx.Node, str]:
    """The linear layers that read chains, each with its chain's source."""
    sources = {reader.site: chain.source for chain in chains for reader in chain.readers}
    linear = [node for node in graph.nodes if OPERATORS.get(node.target) == "linear"]
    sites = {node: node.meta.get(SITES, {}).get(1, "") for node in linear}
    return {node: sources[site] for node, site in sites.items() if site in sources}


def smooth(root: Any, chain: Chain, largest: Tensor, alpha: float) -> Tensor:
    """Scale one chain in place; the scales, (channels,).

    Args:
        largest: max|X_j|, (channels,). alpha: from 0 (weights are made alike) to 1 (activations are).
    """
    weights = read_range(root, chain)
    alive = (largest > 0) & (weights > 0)
    scale = torch.where(alive, largest, 1.0) ** alpha / torch.where(alive, weights, 1.0) ** (1 - alpha)
    scale = torch.where(alive, scale, 1.0).clamp(1 / FARTHEST, FARTHEST)
    divide(root, chain, scale)
    multiply(root, chain, scale)
    return scale
