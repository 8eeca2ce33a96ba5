"""A detector on a vision transformer, in one file, in another style than DETR's own code.

Patch embedding and blocks with one Linear for query, key and value; a decoder whose cross-attention adds a Gaussian map
around each query's reference point to its logits, one per head (SMCA, Gao et al., ICCV 2021); the same heads for all
decoder layers; images and mask as two arguments, a dataclass as the output, sigmoid scores.
``vit_smca.yaml`` beside this file trains and quantizes it.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass
class Detections:
    """logits: (batch, queries, classes); boxes: (batch, queries, 4), cxcywh in 0..1; auxiliary: of earlier layers."""

    logits: Tensor
    boxes: Tensor
    auxiliary: list[tuple[Tensor, Tensor]]


class FusedAttention(nn.Module):
    """Self-attention with one projection for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (batch, heads, length, head_dim)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = FusedAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), mask=mask)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Tokens (batch, rows * columns, width) of square patches; learned positions, resized to the image at hand."""

    def __init__(self, width: int, heads: int, depth: int, patch: int, grid: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, width, grid, grid))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their centres (rows * columns, 2) as x, y in 0..1, and which of them are image."""
        x = self.patch_embed(images)
        rows, columns = x.shape[-2:]
        x = x + F.interpolate(self.pos_embed, size=(rows, columns), mode="bilinear", align_corners=False)
        seen = F.interpolate(mask[:, None].to(x), size=(rows, columns)).flatten(1) > 0.5
        tokens = x.flatten(2).transpose(1, 2)
        allowed = seen[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, mask=allowed)
        y = (torch.arange(rows, device=x.device) + 0.5).to(x) / rows
        z = (torch.arange(columns, device=x.device) + 0.5).to(x) / columns
        centres = torch.stack((z[None, :].expand(rows, -1), y[:, None].expand(-1, columns)), dim=-1).flatten(0, 1)
        return self.norm(tokens), centres, seen


class SpatialAttention(nn.Module):
    """Cross-attention to tokens, whose logits have a Gaussian around each query's point added, one for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.spread = nn.Linear(width, 3 * heads)  # offset in x and y, and the log of the width, of every head

    def forward(self, queries: Tensor, tokens: Tensor, centres: Tensor, seen: Tensor, points: Tensor) -> Tensor:
        batch, count, width = queries.shape
        split = (batch, -1, self.heads, width // self.heads)
        q = self.q_proj(queries).reshape(split).transpose(1, 2)
        k = self.k_proj(tokens).reshape(split).transpose(1, 2)
        v = self.v_proj(tokens).reshape(split).transpose(1, 2)
        offset, scale = self.spread(queries).reshape(batch, count, self.heads, 3).transpose(1, 2).split([2, 1], dim=-1)
        at = points[:, None] + 0.1 * offset  # (batch, heads, queries, 2)
        distance = (at[..., None, :] - centres).square().sum(-1)
        weights = -distance * 20 * scale.clamp(-3, 3).exp()
        scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + weights
        scores = scores.masked_fill(~seen[:, None, None, :], -1e4)
        mixed = scores.softmax(-1) @ v
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = FusedAttention(width, heads)
        self.cross_attn = SpatialAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, tokens: Tensor, centres: Tensor, seen: Tensor, points: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x))
        x = self.norm2(x + self.cross_attn(queries=x, tokens=tokens, centres=centres, seen=seen, points=points))
        out: Tensor = self.norm3(x + self.mlp(x))
        return out


class Detector(nn.Module):
    def __init__(
        self, classes: int, width: int, queries: int, heads: int, depth: int, layers: int, patch: int, grid: int
    ) -> None:
        super().__init__()
        self.vit = ViT(width, heads, depth, patch, grid)
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.points = nn.Linear(width, 2)
        self.class_head = nn.Linear(width, classes)
        self.box_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))
        nn.init.constant_(self.class_head.bias, -4.0)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Detections:
        tokens, centres, seen = self.vit(pixel_values, pixel_mask)
        x = self.queries.expand(tokens.shape[0], -1, -1)
        start = self.points(x)
        read = []
        for layer in self.layers:
            x = layer(x, tokens, centres=centres, seen=seen, points=start.sigmoid())
            raw = self.box_head(x)  # the heads are the same for every layer
            boxes = torch.cat((raw[..., :2] + start, raw[..., 2:]), dim=-1).sigmoid()
            read.append((self.class_head(x), boxes))
        return Detections(*read[-1], auxiliary=read[:-1])


def build(
    classes: int,
    width: int = 64,
    queries: int = 12,
    heads: int = 4,
    depth: int = 2,
    layers: int = 2,
    patch: int = 8,
    grid: int = 8,
) -> nn.Module:
    """What the recipe names as its factory."""
    return Detector(classes, width, queries, heads, depth, layers, patch, grid)
