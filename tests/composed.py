"""A tiny detector composed of what people build theirs from, and what must be found in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

WIDTH, HEADS, QUERIES = 8, 2, 5


@dataclass(frozen=True)
class Parts:
    """attention: how queries meet the image. projections: where those of query, key and value stand. name: of the
    attention's module; "" has it written out in its layer. around: what the backbone runs under. heads: "last" or
    "every" layer reads them. layers: "list", or "shared" for one that is called twice."""

    attention: str = "fused"
    projections: str = "inside"
    name: str = "cross_attention"
    around: str = "nothing"
    heads: str = "last"
    layers: str = "list"
    levels: int = 1


def split(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return joined(F.scaled_dot_product_attention(split(q), split(k), split(v)))


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (split(q) / 2 @ split(k).mT).softmax(-1)
    return joined(weights @ split(v))


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (one.unflatten(-1, (HEADS, -1)) for one in (q, k, v))
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT).softmax(-1) @ v


def two_scores(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores of contents and of positions are added, as in disentangled attention."""
    scores = split(q) @ split(k).mT + split(q.roll(1, 1)) @ split(v).mT
    return joined(scores.softmax(-1) @ split(v))


def two_sums(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What two attentions give is added."""
    return fused(q, k, v) + written_out(q.flip(1), v, k)


def summed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The values are weighted by a product and a sum."""
    weights = (split(q) @ split(k).mT).softmax(-1)
    return joined((weights[..., None] * split(v)[:, :, None]).sum(-2))


def folded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Heads in the batch, as nn.MultiheadAttention has them."""
    q, k, v = (split(one).flatten(0, 1) for one in (q, k, v))
    mixed = torch.bmm(torch.bmm(q, k.mT).softmax(-1), v)
    return joined(mixed.unflatten(0, (-1, HEADS)))


def rows_columns(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Anchor DETR: along columns, then along rows, with a query and a softmax for each. The map is 4 wide."""
    keys, values = (one.unflatten(1, (-1, 4)) for one in (k, v))  # batch, height, 4, width
    rows = (split(q) @ split(keys.mean(1)).mT).softmax(-1)
    columns = (split(q.flip(-1)) @ split(keys.mean(2)).mT).softmax(-1)
    part = values.unflatten(-1, (HEADS, -1)).permute(0, 3, 1, 2, 4)  # batch, heads, height, 4, head_dim
    part = (columns @ part.flatten(3)).unflatten(-1, (4, -1))
    return joined((rows[..., None, :] @ part).squeeze(-2))


ATTENTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    one.__name__: one
    for one in (fused, written_out, einsum, one_head, two_scores, two_sums, summed, folded, rows_columns)
}
OTHERS = {"two_scores": 1, "two_sums": 1, "rows_columns": 1}
"""Queries beside the one that is aligned."""


class Attention(nn.Module):
    """Its projections are its own, or were applied before."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.own, self.mix = parts.projections == "inside", ATTENTIONS[parts.attention]
        if self.own:
            self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.merge = nn.Linear(WIDTH, WIDTH)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.own:
            q, k, v = self.q(q), self.k(k), self.v(v)
        merged: Tensor = self.merge(self.mix(q, k, v))
        return merged


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.merge = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.merge(fused(*self.qkv(x).chunk(3, -1)))
        return merged


class Layer(nn.Module):
    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts, self.self_attn = parts, SelfAttention()
        if parts.projections == "beside" or not parts.name:
            self.ca_q, self.ca_k, self.ca_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        if parts.name:
            setattr(self, parts.name, Attention(parts))
        else:
            self.merge = nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)

    def forward(self, x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        x = x + self.self_attn(x)
        q = x
        if hasattr(self, "ca_q"):
            q, k, v = self.ca_q(q), self.ca_k(k), self.ca_v(v)
        if self.parts.name:
            x = x + getattr(self, self.parts.name)(q, k, v)
        else:
            x = x + self.merge(ATTENTIONS[self.parts.attention](q, k, v))
        return x + self.fc2(self.fc1(x).relu())


class Decoder(nn.Module):
    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        self.layers = nn.ModuleList(Layer(parts) for _ in range(2 if parts.layers == "list" else 1))
        if parts.projections == "above":  # keys and values are projected once for all layers
            self.k, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, tokens: Tensor) -> list[Tensor]:
        k = v = tokens
        if self.parts.projections == "above":
            k, v = self.k(tokens), self.v(tokens)
        states = []
        for layer in [*self.layers, *self.layers][:2]:
            x = layer(x, k, v)
            states.append(x)
        return states


class Composed(nn.Module):
    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        self.backbone = nn.Sequential(nn.Conv2d(3, WIDTH, 4, 4), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        if parts.around == "spectral_norm":
            parametrizations.spectral_norm(self.backbone[2])
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.decoder = Decoder(parts)
        self.classes, self.boxes = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 4)

    def features(self, pixel_values: Tensor) -> Tensor:
        around = self.parts.around
        if around == "no_grad":
            with torch.no_grad():
                return self.backbone(pixel_values)  # type: ignore[no-any-return]
        if around == "autocast_off":
            with torch.autocast("cpu", enabled=False):
                return self.backbone(pixel_values)  # type: ignore[no-any-return]
        if around in ("checkpoint", "reentrant"):
            again = around == "reentrant"
            return checkpoint(self.backbone, pixel_values, use_reentrant=again)  # type: ignore[no-any-return]
        return self.backbone(pixel_values)  # type: ignore[no-any-return]

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        features = F.adaptive_avg_pool2d(self.features(pixel_values), (None, 4)) if self.is_fixed else None
        features = self.features(pixel_values) if features is None else features
        levels = [features] + [F.avg_pool2d(features, 2)] * (self.parts.levels - 1)
        tokens = torch.cat([level.flatten(2).mT for level in levels], 1)
        states = self.decoder(self.queries.expand(len(pixel_values), -1, -1), tokens)
        read = [{"logits": self.classes(x), "pred_boxes": self.boxes(x).sigmoid()} for x in states[self.first :]]
        return {**read[-1], "aux_outputs": read[:-1]} if self.first == 0 else dict(read[-1])

    @property
    def is_fixed(self) -> bool:
        return self.parts.attention == "rows_columns"

    @property
    def first(self) -> int:
        return 0 if self.parts.heads == "every" else 1


def expected_roles(model: nn.Module) -> dict[str, str]:
    """By the path of every layer with weights."""
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        own = name.rpartition(".")[2]
        if name.startswith("backbone"):
            found[name] = "backbone.stem" if own == "0" else "backbone.body"
        elif "self_attn" in name:
            found[name] = "decoder.self_attention"
        elif own in ("fc1", "fc2"):
            found[name] = "decoder.feed_forward"
        elif name.startswith("decoder"):
            found[name] = "decoder.cross_attention"
        else:
            found[name] = {"classes": "head.class", "boxes": "head.box"}[name]
    return found
