"""Modules that are captured in a second, each with one property that the graph rooms must get right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrecipe.capture import capture
from qrecipe.graph.captured import Captured
from qrecipe.graph.graph_model import GraphModel
from qrecipe.passes import PassReport, run_passes
from qrecipe.planning import Plan, WhichModel, build_plan, check
from qrecipe.recipe import Recipe
from qrecipe.structure import Structure, analyse, mark


def call(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    return model(**inputs), {}


def picture(batch: int = 2, height: int = 16, width: int = 24, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)}


def captured_toy(model: nn.Module) -> Captured:
    return capture(model.double(), call, picture())


def running(captured: Captured) -> GraphModel:
    copied = captured.copy()
    return GraphModel(copied.root, copied.programs)


def plan_of(
    captured: Captured,
    recipe: Recipe,
    size: tuple[int, int] = (16, 24),
    roles: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    part: WhichModel = "model",
) -> Plan:
    """Checked, analysed and planned, as ``make_plan`` does it with a source."""
    check(captured, recipe, roles or {}, part)
    return build_plan(analyse(captured, roles), recipe, size, notes=notes, part=part)


def marked(captured: Captured, roles: Mapping[str, str] | None = None) -> tuple[Captured, Structure]:
    """A copy that passes may edit, and the structure that is marked on it."""
    copied, structure = captured.copy(), analyse(captured, roles)
    mark(copied, structure)
    return copied, structure


def rewritten(captured: Captured, recipe: Recipe) -> tuple[GraphModel, Plan, dict[str, PassReport]]:
    """Planned and through every pass; the quantizers are off."""
    copied, structure = marked(captured, recipe.model.roles)
    plan = build_plan(structure, recipe, (16, 24))
    reports = {report.name: report for report in run_passes(copied, plan)}
    model = GraphModel(copied.root, copied.programs)
    model.edited = copied  # type: ignore[assignment]
    return model, plan, reports


class Attention(nn.Module):
    """softmax(q k^T) v with one projection each. ``eager``: written out instead of scaled_dot_product_attention."""

    def __init__(self, width: int = 8, heads: int = 2, dropout: float = 0.0, eager: bool = False) -> None:
        super().__init__()
        self.heads, self.dropout, self.eager = heads, dropout, eager
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        )
        p = self.dropout if self.training else 0.0
        if self.eager:
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            mixed = F.dropout(scores.softmax(-1), p, self.training) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class DecoderLayer(nn.Module):
    def __init__(self, width: int, **attention: Any) -> None:
        super().__init__()
        self.cross_attention = Attention(width, **attention)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        out: Tensor = self.norm(states + self.cross_attention(states, tokens, tokens))
        return out


class ToyDetector(nn.Module):
    """A detector with everything once: convolution and BatchNorm, learned queries, cross-attention, two heads.

    In training the heads also read the first layer: they are called twice. ``columns``: of the class head.
    """

    def __init__(self, columns: int = 5, width: int = 8, layers: int = 2, **attention: Any) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1)
        )
        self.queries = nn.Parameter(torch.randn(4, width))
        self.layers = nn.ModuleList([DecoderLayer(width, **attention) for _ in range(layers)])
        self.class_head = nn.Linear(width, columns)
        self.box_head = nn.Linear(width, 4)

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        tokens = self.backbone(pixel_values).flatten(2).transpose(1, 2)
        states = self.queries[None].expand(tokens.shape[0], -1, -1)
        read = []
        for index, layer in enumerate(self.layers):
            states = layer(states, tokens)
            if self.training or index == len(self.layers) - 1:
                read.append({"logits": self.class_head(states), "pred_boxes": self.box_head(states).sigmoid()})
        return {**read[-1], "aux_outputs": read[:-1]} if self.training else dict(read[-1])
