"""Layers of the demo detector. Tokens are (batch, tokens, width), queries (batch, queries, width)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = (16, 32, 64)
TEMPERATURE = 20.0


def sine_embedding(places: Tensor, channels: int) -> Tensor:
    """Sines and cosines of coordinates in 0..1: (..., n) to (..., n * channels), ``channels`` even.

    Source: DETR's sine embedding, with the temperature of DAB-DETR.
    """
    steps = torch.arange(channels // 2, device=places.device).to(places.dtype)
    waves = 2 * math.pi * TEMPERATURE ** (-2 * steps / channels)
    angles = 4 * places[..., None] * waves
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(-2)


@final
class Backbone(nn.Module):
    """(batch, 3, height, width) to (batch, width, height / 8, width / 8), rounded up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.stem = ConvNorm(3, first, stride=2)
        self.stage1 = nn.Sequential(ConvNorm(first, second, stride=2), Residual(second))
        self.stage2 = nn.Sequential(ConvNorm(second, third, stride=2), Residual(third), Residual(third))
        self.projection = nn.Conv2d(third, width, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        features: Tensor = self.projection(self.stage2(self.stage1(self.stem(pixel_values))))
        return features


@final
class ConvNorm(nn.Module):
    """3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(features)))


@final
class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.norm(self.conv(self.first(features))))


@final
class Attention(nn.Module):
    """Multi-head attention with separate projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query: (batch, queries, width); key and value: (batch, tokens, width)."""
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        )
        heads = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return out


@final
class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.fc2(F.relu(self.fc1(states))))
        return out


@final
class EncoderLayer(nn.Module):
    """Self-attention over the tokens and a feed-forward block, each normalised after its shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.self_attention_norm = nn.LayerNorm(width)
        self.ffn = FeedForward(width, hidden, dropout)
        self.ffn_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        placed = tokens + position
        tokens = self.self_attention_norm(tokens + self.self_attention(placed, placed, tokens))
        out: Tensor = self.ffn_norm(tokens + self.ffn(tokens))
        return out


@final
class DecoderLayer(nn.Module):
    """Self-attention over the queries, cross-attention to the tokens, a feed-forward block."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.self_attention_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.ffn = FeedForward(width, hidden, dropout)
        self.ffn_norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, place: Tensor, tokens: Tensor, position: Tensor) -> Tensor:
        """place: the queries' position, (batch, queries, width); position: the tokens', (tokens, width)."""
        placed = states + place
        states = self.self_attention_norm(states + self.self_attention(placed, placed, states))
        found = self.cross_attention(states + place, tokens + position, tokens)
        states = self.cross_attention_norm(states + found)
        out: Tensor = self.ffn_norm(states + self.ffn(states))
        return out


@final
class BoxHead(nn.Module):
    """Three linear layers to the four shifts of a box, before its sigmoid. They start at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, 4)
        nn.init.zeros_(self.fc3.weight)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.fc3(F.relu(self.fc2(F.relu(self.fc1(states)))))
        return out
