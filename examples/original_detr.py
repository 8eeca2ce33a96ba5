"""A detector in the style of the original DETR repository, in one file: what qrecipe meets when you bring your own.

Sequence-first ``nn.MultiheadAttention``, a NestedTensor as the one input, frozen BatchNorm, a dict with pred_logits,
pred_boxes and aux_outputs. ``original_detr.yaml`` beside this file trains and quantizes it.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NestedTensor:
    """Images padded to one size. tensors: (batch, 3, height, width); mask: (batch, height, width), True is padding."""

    def __init__(self, tensors: Tensor, mask: Tensor) -> None:
        self.tensors = tensors
        self.mask = mask

    def decompose(self) -> tuple[Tensor, Tensor]:
        return self.tensors, self.mask


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm whose statistics and affine are buffers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        w, b = self.get_buffer("weight"), self.get_buffer("bias")
        mean, var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        scale = w * (var + 1e-5).rsqrt()
        return x * scale.reshape(1, -1, 1, 1) + (b - mean * scale).reshape(1, -1, 1, 1)


class Block(nn.Module):
    """A residual block of half the size."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(out)
        self.downsample = nn.Conv2d(width, out, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class Backbone(nn.Module):
    """Features of a sixteenth of the size, with their mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(width // 4)
        self.layer1 = Block(width // 4, width // 2)
        self.layer2 = Block(width // 2, width)
        self.layer3 = Block(width, width)

    def forward(self, samples: NestedTensor) -> NestedTensor:
        x, mask = samples.decompose()
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return NestedTensor(x, F.interpolate(mask[None].float(), size=x.shape[-2:]).to(torch.bool)[0])


def sine_positions(mask: Tensor, width: int) -> Tensor:
    """(height * width, batch, channels): sines of the row and the column within the image, from 0 to 2 pi."""
    inside = ~mask
    frequency = 10000 ** (2 * (torch.arange(width // 2, device=mask.device) // 2) / (width // 2))
    parts = []
    for axis in (1, 2):
        count = inside.cumsum(axis, dtype=torch.float32)
        last = count[:, -1:, :] if axis == 1 else count[:, :, -1:]
        angle = (count / (last + 1e-6) * 2 * torch.pi)[..., None] / frequency
        parts.append(torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=4).flatten(3))
    return torch.cat(parts, dim=3).flatten(1, 2).transpose(0, 1)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, src: Tensor, mask: Tensor, pos: Tensor) -> Tensor:
        q = k = src + pos
        src = self.norm1(src + self.dropout(self.self_attn(q, k, value=src, key_padding_mask=mask)[0]))
        out: Tensor = self.norm2(src + self.dropout(self.linear2(F.relu(self.linear1(src)))))
        return out


class DecoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tgt: Tensor, memory: Tensor, mask: Tensor, pos: Tensor, query_pos: Tensor) -> Tensor:
        q = k = tgt + query_pos
        tgt = self.norm1(tgt + self.dropout(self.self_attn(q, k, value=tgt)[0]))
        found = self.multihead_attn(query=tgt + query_pos, key=memory + pos, value=memory, key_padding_mask=mask)[0]
        tgt = self.norm2(tgt + self.dropout(found))
        out: Tensor = self.norm3(tgt + self.dropout(self.linear2(F.relu(self.linear1(tgt)))))
        return out


class MLP(nn.Module):
    def __init__(self, width: int, out: int, count: int) -> None:
        super().__init__()
        sizes = [width] * count + [out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x) if index == len(self.layers) - 1 else F.relu(layer(x))
        return x


class DETR(nn.Module):
    def __init__(
        self, num_classes: int, width: int, queries: int, heads: int, encoder: int, decoder: int, dropout: float
    ) -> None:
        super().__init__()
        self.backbone = Backbone(width)
        self.input_proj = nn.Conv2d(width, width, 1)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, 2 * width, dropout) for _ in range(encoder))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, 2 * width, dropout) for _ in range(decoder))
        self.norm = nn.LayerNorm(width)
        self.query_embed = nn.Embedding(queries, width)
        self.class_embed = nn.Linear(width, num_classes + 1)  # the last one is "no object"
        self.bbox_embed = MLP(width, 4, 3)

    def forward(self, samples: NestedTensor) -> dict[str, Any]:
        features = self.backbone(samples)
        pos = sine_positions(features.mask, self.norm.normalized_shape[0]).to(features.tensors)
        src = self.input_proj(features.tensors).flatten(2).permute(2, 0, 1)  # (length, batch, channels)
        mask = features.mask.flatten(1)
        for layer in self.encoder:
            src = layer(src, mask, pos)
        query_pos = self.query_embed.weight.unsqueeze(1).repeat(1, src.shape[1], 1)
        tgt, states = torch.zeros_like(query_pos), []
        for layer in self.decoder:
            tgt = layer(tgt, memory=src, mask=mask, pos=pos, query_pos=query_pos)
            states.append(self.norm(tgt))
        hs = torch.stack(states).transpose(1, 2)  # (layers, batch, queries, channels)
        logits, boxes = self.class_embed(hs), self.bbox_embed(hs).sigmoid()
        earlier = [{"pred_logits": a, "pred_boxes": b} for a, b in zip(logits[:-1], boxes[:-1], strict=True)]
        return {"pred_logits": logits[-1], "pred_boxes": boxes[-1], "aux_outputs": earlier}


def build(
    num_classes: int,
    width: int = 64,
    queries: int = 12,
    heads: int = 4,
    encoder: int = 1,
    decoder: int = 2,
    dropout: float = 0.1,
) -> nn.Module:
    """What the recipe names as its factory."""
    return DETR(num_classes, width, queries, heads, encoder, decoder, dropout)
