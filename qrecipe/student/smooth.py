"""Moves the outliers of activations behind a LayerNorm into the linear layers that read them.

Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (ICML
2023, arXiv 2211.10438), equation 4: s_j = max|X_j|^alpha / max|W_j|^(1 - alpha). The LayerNorm's own weight and bias
are divided by s and the linear layers' weights multiplied, so that nothing is added. Once smoothed, s is 1: smoothing
again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..graph.graph_model import reading
from ..passes.channels import divide, multiply, read_range
from ..structure import Chain
from ..structure.operands import OPERATORS, SITES
from .deployable import Deployable

FARTHEST = 1e4
"""No channel is scaled by more than this or less than its inverse, whatever is next to nothing in it."""


class MagnitudeRun(fx.Interpreter):
    """The real-valued evaluation graph of a student, run once for each batch; keeps what smoothing asks for."""

    def __init__(self, deployable: Deployable, chains: Sequence[Chain]) -> None:
        super().__init__(deployable.root, graph=deployable.graph)
        self._deployable = deployable
        self._chains = {reader.site: chain.source for chain in chains for reader in chain.readers}
        self._largest: dict[str, Tensor] = {}

    def over(self, inputs: Mapping[str, Tensor]) -> None:
        """Take in one batch."""
        with reading(inputs):
            self.run(*(inputs[name] for name in self._deployable.inputs))

    def largest(self, chain: Chain) -> Tensor | None:
        """The largest magnitude of each channel that the chain's readers saw, (channels,); None where they saw none."""
        return self._largest.get(chain.source)

    def run_node(self, n: fx.Node) -> Any:
        source = self._chains.get(n.meta.get(SITES, {}).get(1, "")) if OPERATORS.get(n.target) == "linear" else None
        if source is not None:
            (x, *_), _ = self.fetch_args_kwargs_from_env(n)
            if x.numel():
                own = x.detach().abs().flatten(0, -2).amax(0).double()
                self._largest[source] = torch.maximum(self._largest[source], own) if source in self._largest else own
        return super().run_node(n)


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
