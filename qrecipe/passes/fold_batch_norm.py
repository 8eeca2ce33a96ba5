"""Folds BatchNorm into the convolution before it, inside the graph, from parameters that stay trainable.

Unfolded, the scale of a quantized weight means nothing at deployment, and runtimes lose speed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from ..graph.captured import Captured
from ..graph.program import Program
from ..planning.plan import Plan
from ..structure.operands import OPERATORS, SITES
from .conditions import NORMS_FOLDED, NOTHING_QUANTIZED
from .norms import Norm, norm_factor, norm_of
from .rewrite import Pass, PassReport

SMALLEST_FACTOR = 1e-4
"""Smaller ones would bring a quantized weight's scale near the smallest that there is."""


def fold_weight(weight: Tensor, factor: Tensor, axis: int) -> Tensor:
    """Scale a weight per output channel, which is its dimension ``axis``."""
    return weight * factor.reshape([-1 if index == axis else 1 for index in range(weight.dim())])


def fold_bias(bias: Tensor | None, factor: Tensor, beta: Tensor | None, mean: Tensor) -> Tensor:
    """The bias of the folded convolution: beta + (bias - mean) * factor."""
    shifted = -mean * factor if bias is None else (bias - mean) * factor
    return shifted if beta is None else shifted + beta


def live_factor(factor: Tensor) -> Tensor:
    """The factor of a fold that is undone again: kept away from zero, from where there is no way back.

    A gamma of zero, as residual branches start with, would stop both its own gradient and the convolution's.
    """
    return torch.where(factor.abs() < SMALLEST_FACTOR, SMALLEST_FACTOR, factor)


def unscale(output: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """Undo ``fold_weight`` on the output (batch, channels, ...): what the convolution itself would give."""
    shape = [1, -1] + [1] * (output.dim() - 2)
    restored = output / factor.reshape(shape)
    return restored if bias is None else restored + bias.reshape(shape)


def frozen_norm(
    value: Tensor, gamma: Tensor | None, beta: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    """A BatchNorm with running statistics, whatever the mode. value: (batch, channels, ...)."""
    return nn.functional.batch_norm(value, mean, variance, gamma, beta, training=False, eps=eps)


def fold_batch_norm(captured: Captured, plan: Plan) -> PassReport:
    """Fold every convolution-BatchNorm pair (``frozen``), or those with a quantized weight (``live``).

    ``live`` keeps the BatchNorm, so that batch statistics go on being used: the weight is quantized as folded with
    the running statistics, and the convolution's output is scaled back before the BatchNorm.
    """
    done = expected = 0
    several = _under_several_norms(captured)
    for program in captured.programs.values():
        for node in list(program.graph.nodes):
            norm = norm_of(captured.root, node)
            if norm is None:
                continue
            conv = _convolution_before(node)
            if conv is not None and _weight_of(captured, conv) in several:
                conv = None
            sites = conv.meta.get(SITES, {}) if conv is not None else {}
            quantized = 1 in sites and plan.sites[sites[1]].quantizer is not None
            if conv is not None and (plan.batch_norm == "frozen" or quantized):
                expected += 1
                _fold(captured, program, conv, node, norm, live=plan.batch_norm == "live")
                done += _is_folded(conv)
            elif plan.batch_norm == "frozen":
                _freeze(program, node, norm)
    return PassReport("fold_batch_norm", done, expected, "BatchNorms folded")


FOLD_BATCH_NORM = Pass(fold_batch_norm, requires=(NOTHING_QUANTIZED,), ensures=(NORMS_FOLDED,))


def _under_several_norms(captured: Captured) -> set[int]:
    """Weights of convolutions that not all calls have one BatchNorm behind: as heads have that levels share.

    Folded, one weight would be several tensors, and its quantizer's range one of them's.
    """
    norms: dict[int, set[str]] = {}
    for program in captured.programs.values():
        for node in program.graph.nodes:
            if OPERATORS.get(node.target) in ("conv", "conv_transpose"):
                user = next(iter(node.users), node)
                norm = norm_of(captured.root, user) if _convolution_before(user) is node else None
                norms.setdefault(_weight_of(captured, node), set()).add(norm.path if norm is not None else "")
    return {weight for weight, paths in norms.items() if len(paths) > 1}


def _weight_of(captured: Captured, conv: fx.Node) -> int:
    """Which parameter a convolution reads, under any of its names; the node itself where it is computed."""
    weight = conv.args[1]
    assert isinstance(weight, fx.Node)
    if weight.op != "get_attr":
        return id(weight)
    path, _, name = str(weight.target).rpartition(".")
    return id(getattr(captured.root.get_submodule(path), name))


def _convolution_before(node: fx.Node) -> fx.Node | None:
    conv = node.args[0] if node.args else None
    if not isinstance(conv, fx.Node) or OPERATORS.get(conv.target) not in ("conv", "conv_transpose"):
        return None
    grouped = OPERATORS[conv.target] == "conv_transpose" and len(conv.args) > 6 and conv.args[6] != 1
    return conv if len(conv.users) == 1 and not grouped else None


def _fold(captured: Captured, program: Program, conv: fx.Node, node: fx.Node, norm: Norm, *, live: bool) -> None:
    graph = program.graph
    axis = 1 if OPERATORS[conv.target] == "conv_transpose" else 0
    arguments = list(conv.args)
    weight, bias = arguments[1], arguments[2] if len(arguments) > 2 else None
    with graph.inserting_before(conv):
        mean, variance = (graph.get_attr(f"{norm.path}.{name}") for name in ("running_mean", "running_var"))
        gamma, beta = (graph.get_attr(name) if name else None for name in (norm.gamma, norm.beta))
        computed = [factor := graph.call_function(norm_factor, (gamma, variance, norm.eps))]
        if live:
            computed.append(factor := graph.call_function(live_factor, (factor,)))
        computed.append(folded := graph.call_function(fold_weight, (weight, factor, axis)))
        shifted = None if live else graph.call_function(fold_bias, (bias, factor, beta, mean))
    conv.args = (arguments[0], folded, shifted, *arguments[3:])
    for new in (*computed, *([shifted] if shifted is not None else [])):
        new.meta["module"] = conv.meta.get("module", "")
    if not live:
        program.replace(node, conv)
        return
    with graph.inserting_after(conv):
        restored = graph.call_function(unscale, (conv, factor, bias))
    restored.meta = {key: value for key, value in conv.meta.items() if key != SITES}
    node.replace_input_with(conv, restored)
    for unused in (mean, *([beta] if beta is not None else [])):
        graph.erase_node(unused)


def _is_folded(conv: fx.Node) -> bool:
    weight: Any = conv.args[1]
    return isinstance(weight, fx.Node) and weight.target is fold_weight


def _freeze(program: Program, node: fx.Node, norm: Norm) -> None:
    graph = program.graph
    with graph.inserting_before(node):
        mean, variance = (graph.get_attr(f"{norm.path}.{name}") for name in ("running_mean", "running_var"))
        gamma, beta = (graph.get_attr(name) if name else None for name in (norm.gamma, norm.beta))
        frozen = graph.call_function(frozen_norm, (node.args[0], gamma, beta, mean, variance, norm.eps))
    frozen.meta = dict(node.meta)
    program.replace(node, frozen)
