"""Writes scaled_dot_product_attention as its products, so that its operands can be quantized (Q-DETR 2.26)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from ..errors import CaptureError
from ..graph.captured import Captured
from ..graph.dropout import add_dropout
from ..graph.points import TapPoint
from ..graph.program import Program
from ..planning.plan import Plan
from ..structure.operands import SITES
from ..vocabulary import LOGITS
from .conditions import NOTHING_QUANTIZED, OPERANDS_ARE_ARGUMENTS
from .rewrite import Pass, PassReport

aten = torch.ops.aten
_ATTENTION = aten.scaled_dot_product_attention.default


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension; a boolean mask is True where attention is allowed, another is added.

    A row in which nothing is allowed gives zeros, as scaled_dot_product_attention does.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    if mask.dtype == torch.bool:
        shut = ~mask.any(dim=-1, keepdim=True)
        scores = scores.masked_fill(~(mask | shut), -torch.inf)
    else:
        shut = (mask == -torch.inf).all(dim=-1, keepdim=True)
        scores = scores + mask.masked_fill(shut, 0.0)
    return scores.softmax(dim=-1).masked_fill(shut, 0.0)


def decompose_attention(captured: Captured, plan: Plan) -> PassReport:
    """Decompose what has a quantized operand, an aligned query (its logits are reported), tapped logits, or dropout.

    Dropout becomes a module, so that it follows train() and eval().
    """
    before = left = wanted = 0
    for program in captured.programs.values():
        layers = {tap.layer for tap in plan.taps if tap.role == LOGITS}
        tapped = {user for layer in layers & program.queries.keys() for user, _ in program.queries[layer].users}
        for node in list(program.graph.nodes):
            if node.target is not _ATTENTION:
                continue
            before += 1
            options = _options(node)
            quantized = any(plan.sites[site].quantizer for site in node.meta.get(SITES, {}).values())
            aligned = plan.alignments and any((node, 0) in point.users for point in program.queries.values())
            if quantized or aligned or node in tapped or options["dropout_p"]:
                wanted += 1
                _check(node, options)
                _decompose(captured, program, node, options)
        left += sum(node.target is _ATTENTION for node in program.graph.nodes)
    return PassReport("decompose_attention", before - left, wanted, "attentions decomposed")


DECOMPOSE_ATTENTION = Pass(decompose_attention, requires=(NOTHING_QUANTIZED,), ensures=(OPERANDS_ARE_ARGUMENTS,))


def _options(node: fx.Node) -> dict[str, Any]:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    found: dict[str, Any] = {
        "attn_mask": None,
        "dropout_p": 0.0,
        "is_causal": False,
        "scale": None,
        "enable_gqa": False,
    }
    found.update(zip(names, node.args, strict=False))
    found.update(node.kwargs)
    return found


def _check(node: fx.Node, options: dict[str, Any]) -> None:
    if options["is_causal"] or options["enable_gqa"]:
        raise CaptureError(
            "causal or grouped-query attention cannot be quantized",
            where=node.meta.get("module") or node.name,
            remedy="keep this module real-valued with a rule",
        )


def _decompose(captured: Captured, program: Program, node: fx.Node, options: dict[str, Any]) -> None:
    graph, sites = program.graph, dict(node.meta.get(SITES, {}))
    query, key, value = options["query"], options["key"], options["value"]
    scale = options["scale"]
    if scale is None:
        scale = float(query.meta["val"].shape[-1]) ** -0.5
    with graph.inserting_before(node):
        turned = graph.call_function(aten.transpose.int, (key, -2, -1))
        product = graph.call_function(aten.matmul.default, (query, turned))
        scores = graph.call_function(aten.mul.Tensor, (product, scale))
        weights = graph.call_function(masked_softmax, (scores, options["attn_mask"]))
        if options["dropout_p"] and program.mode == "train":
            target = add_dropout(captured.root, float(options["dropout_p"]))
            weights = _in_region(graph.call_module(target, (weights,)), node)
        output = graph.call_function(aten.matmul.default, (weights, value))
    for new in (turned, product, scores, weights, output):
        _in_region(new, node)
    output.meta["val"] = node.meta["val"]
    for new, slots in (
        (turned, {0: sites.get(1)}),
        (product, {0: sites.get(0)}),
        (output, {0: sites.get("probabilities"), 1: sites.get(2)}),
    ):
        new.meta[SITES] = {slot: site for slot, site in slots.items() if site is not None}
    for layer, point in list(program.queries.items()):
        if (node, 0) in point.users:
            program.queries[layer] = point.moved({node: product})
            program.taps[LOGITS, layer] = TapPoint(scores)
    program.replace(node, output)


def _in_region(new: fx.Node, old: fx.Node) -> fx.Node:
    new.meta["module"] = old.meta.get("module", "")
    return new
