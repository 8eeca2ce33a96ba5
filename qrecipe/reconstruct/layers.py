"""Rounds the weights of a block layer by layer, each for what the layers before it give it, and sets the biases beside
them so that every channel keeps its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..passes.fold_batch_norm import fold_bias
from ..quantizers import BiasCorrection, Quantizer
from ..quantizers.kernels import reference
from ..quantizers.kernels.fused import along
from ..structure.operands import OPERATORS
from ..student.weight_inputs import columns_of
from .compensation import compensated
from .segments import Segment, Values
from .weights import Weight, put

NOISE = 1e-6
"""Of what a layer reads, relative to its mean square: below it a difference between second moments says nothing."""


@torch.no_grad()
def compensate(
    student: nn.Module,
    segment: Segment,
    reads: Sequence[Values],
    weights: Mapping[str, Weight],
    biases: Mapping[str, nn.Parameter],
) -> None:
    """Round weights (by their quantizer's path) and move biases (by their path), in place.

    What the activations before a layer have lost is not made up for, neither by its weights (they would shrink, as in
    any regression on noisy inputs) nor by its bias: both lowered the error of blocks and the AP (docs/results.md).

    Args:
        reads: what the block takes in from each batch, in the student.

    Transposed convolutions, and weights with a scale per input channel, keep their nearest rounding.
    """
    for node, path in _layers(segment):
        if path not in weights:
            continue
        quantizer = student.get_submodule(path)
        assert isinstance(quantizer, Quantizer)
        if quantizer.operand.axis not in (None, 0):
            continue
        bias = next((biases[name] for name in _bias_names(node) if name in biases), None)
        value = weights[path].value()
        seen = _Inputs.of(node, value, segment, student, reads)
        moment = seen.moment(centred=bias is not None)
        groups, width, _ = moment.shape
        rows = value.to(moment.dtype).reshape(groups, -1, width)
        found = compensated(rows, moment, _nearest(quantizer, value, rows))
        put(weights[path], found.reshape(value.shape).to(value.dtype))
        if bias is not None:
            kept = (rows - found) @ seen.mean[..., None]
            bias.add_(kept.flatten().to(bias.dtype) - _corrected(student, node, bias))


def _layers(segment: Segment) -> Iterator[tuple[fx.Node, str]]:
    """Convolutions and linear layers with a quantized weight, and the path of its quantizer."""
    for node in segment.block.nodes:
        if node.op == "call_function" and OPERATORS.get(node.target) in ("conv", "linear"):
            weight = node.args[1]
            if isinstance(weight, fx.Node) and weight.op == "call_module" and isinstance(node.args[0], fx.Node):
                yield node, str(weight.target)


def _bias_names(node: fx.Node) -> list[str]:
    """The parameters that are added, unscaled, to a layer's output: its own bias or its norm's, and its correction."""
    names = []
    source: Any = node.args[2] if len(node.args) > 2 else None
    if isinstance(source, fx.Node) and source.op == "call_module":
        names.append(f"{source.target}.bias")
        source = source.args[0]
    if isinstance(source, fx.Node) and source.target is fold_bias:
        source = source.args[2]
    return [*names, str(source.target)] if isinstance(source, fx.Node) else names


def _corrected(student: nn.Module, node: fx.Node, bias: nn.Parameter) -> Tensor:
    """What calibration adds already to a layer's output, (channels,)."""
    source = node.args[2]
    assert isinstance(source, fx.Node)
    module = student.get_submodule(str(source.target)) if source.op == "call_module" else None
    return module.bias if isinstance(module, BiasCorrection) and module.on else torch.zeros_like(bias)


def _nearest(quantizer: Quantizer, value: Tensor, rows: Tensor) -> Callable[[Tensor], Tensor]:
    """Rounds columns of ``rows``, a view of ``value``, as the quantizer does."""
    encoding = quantizer.encoding()
    parts = (along(part, value, encoding.axis) for part in (encoding.scale, encoding.zero_point))
    scale, zero_point = (part.to(rows.dtype).expand(value.shape).reshape(rows.shape)[..., :1] for part in parts)
    return lambda columns: scale * (reference.quantize(columns, scale, zero_point, encoding.grid, True) - zero_point)


@dataclass(frozen=True)
class _Inputs:
    """What a layer reads in the student: the mean (groups, K), and E[x x^T], (groups, K, K)."""

    mean: Tensor
    second: Tensor

    @classmethod
    def of(cls, node: fx.Node, value: Tensor, segment: Segment, student: nn.Module, reads: Sequence[Values]) -> _Inputs:
        operand = segment.operand(node)
        totals: list[Tensor] = []
        places = 0
        for read in reads:
            x = operand(student, read)
            for columns in columns_of(OPERATORS[node.target], x, tuple(value.shape[2:]), list(node.args[3:])):
                exact = columns.double()
                parts = [exact.sum(-1), exact @ exact.mT]
                totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else parts
                places += exact.shape[-1]
        return cls(*(total / places for total in totals))

    def moment(self, *, centred: bool) -> Tensor:
        """E[x x^T], (groups, K, K), positive definite; of what x is beside its mean where a bias makes up for that."""
        found = self.second - self.mean[..., :, None] * self.mean[..., None, :] if centred else self.second
        noise = NOISE * self.second.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True).expand_as(self.mean)
        return found + torch.diag_embed(noise)
