"""A detector with one decoder layer for all iterations, whose attentions split one projection with chunk."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ChunkedAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = (q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1) @ v
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = ChunkedAttention(width, heads)
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, *, memory: Tensor) -> Tensor:
        x = x + self.self_attn(x)
        x = self.norm(x + self.cross_attn(query=x, key=memory, value=memory, need_weights=False)[0])
        out: Tensor = x + self.feed(x).relu()
        return out


class SharedLayerDetector(nn.Module):
    """forward takes whatever it calls ``samples``, and returns a tuple."""

    def __init__(self, classes: int = 3, width: int = 16, heads: int = 2, queries: int = 5, calls: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, stride=8)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layer = Layer(width, heads)
        self.calls = calls
        self.class_head = nn.Linear(width, classes)
        self.box_head = nn.Linear(width, 4)

    def forward(self, samples: Tensor) -> Any:
        memory = self.stem(samples).flatten(2).transpose(1, 2)
        x = self.queries[None].expand(len(samples), -1, -1)
        for _ in range(self.calls):
            x = self.layer(x, memory=memory)
        return self.class_head(x), self.box_head(x).sigmoid()
