"""Operations that no recipe quantizes: they have no sites, and their cost is not counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import fx

from ..graph.program import Program
from ..graph.shapes import is_float, shape_of
from .operands import OPERATORS, WEIGHTED, is_sampled, is_weighted_sum

aten = torch.ops.aten

UNSUPPORTED: dict[Any, str] = {
    aten.softmax.int: "softmax",
    aten._softmax.default: "softmax",
    aten.layer_norm.default: "layer_norm",
    aten.native_layer_norm.default: "layer_norm",
    aten.group_norm.default: "group_norm",
    aten.rms_norm.default: "rms_norm",
    aten.gelu.default: "gelu",
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
    aten.embedding.default: "embedding",
    aten.grid_sampler.default: "grid_sampler",
    aten.upsample_nearest2d.vec: "upsample",
    aten.upsample_bilinear2d.vec: "upsample",
    aten.upsample_bicubic2d.vec: "upsample",
    aten.adaptive_avg_pool2d.default: "adaptive_avg_pool",
    aten.einsum.default: "einsum",
    aten.mm.default: "mm",
    aten.addmm.default: "addmm",
    aten.conv3d.default: "conv3d",
    aten.conv_transpose1d.default: "conv_transpose1d",
}
"""What is named: normalization, activation functions that change the range, sampling, and products without sites.
Reshaping, masks, ReLU and max-pooling lose nothing; box arithmetic and positions are too small to name."""


def count_unsupported(program: Program) -> dict[str, int]:
    """How many of them a graph has, by operator, the most frequent first."""
    counts = Counter(name for node in program.graph.nodes if (name := _name(node)))
    return dict(counts.most_common())


def _name(node: fx.Node) -> str:
    if node.op != "call_function":
        return ""
    operator = OPERATORS.get(node.target)
    if operator in WEIGHTED and len(shape_of(node.args[1]) or ()) < 2:
        return "product with a vector"
    if operator == "attention":
        return "softmax"  # the one within it
    if operator == "weighted_sum" and not is_weighted_sum(node) and _weighs_samples(node):
        return "product of sampled values"  # it may be an attention's, written in a way that is not recognised
    return UNSUPPORTED.get(node.target, "") if operator is None else ""


def _weighs_samples(node: fx.Node) -> bool:
    """Whether sampled values are multiplied by features: not by a number, nor by a mask."""
    factors = node.all_input_nodes
    sampled = [is_sampled(factor) for factor in factors]
    features = [len(shape_of(factor) or ()) >= 2 and is_float(factor) and not _is_mask(factor) for factor in factors]
    return len(factors) == 2 and any(sampled) and all(features)


def _is_mask(value: fx.Node) -> bool:
    casts = (aten.to.dtype, aten._to_copy.default)
    return value.target in casts and not is_float(value.args[0])
