"""A pull of each weight towards the level that it is rounded to, so that it oscillates less between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..quantizers import Quantizer
from ..quantizers.affine import AffineQuantizer
from ..quantizers.kernels.fused import along

Seen = dict[AffineQuantizer, tuple[Tensor, Tensor]]


@contextmanager
def weights_seen(quantizers: Mapping[str, Quantizer]) -> Iterator[Seen]:
    """What the weights' quantizers that are on read and give, once they have run; of several runs the last.

    Those with scales alone: where a quantizer bends a weight first, what it gives is no level near to it.
    """
    seen: Seen = {}

    def keep(module: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> None:
        assert isinstance(module, AffineQuantizer)
        if module.mode == "on":
            seen[module] = read[0], given.detach()

    weights = [one for one in quantizers.values() if isinstance(one, AffineQuantizer) and one.operand.is_weight]
    hooks = [one.register_forward_hook(keep) for one in weights]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def dampening(seen: Seen) -> Tensor:
    """The sum over all weights of (w - w_hat)^2; a weight beyond the last level counts as on it. A scalar in float32 or
    more, whose gradient goes to the weights and not to the scales.

    Source: Nagel et al., "Overcoming Oscillations in Quantization-Aware Training", ICML 2022 (arXiv 2203.11086).
    """
    terms = []
    for quantizer, (weight, level) in seen.items():
        encoding, axis = quantizer.encoding(), quantizer.operand.axis
        ends = (encoding.grid.lo, encoding.grid.hi)
        low, high = (along(encoding.scale * (end - encoding.zero_point), weight, axis) for end in ends)
        apart = weight.clamp(low, high) - level
        terms.append((apart.float() if apart.dtype in (torch.float16, torch.bfloat16) else apart).square().sum())
    return torch.stack(terms).sum() if terms else torch.zeros(())
