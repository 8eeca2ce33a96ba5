"""The built-in demo detector: a small DETR in plain PyTorch that trains from nothing on two CPU cores.

Decoder queries are chosen among the encoder's tokens by score, and boxes are refined from layer to layer: with this a
DETR converges in minutes where learned queries take hours. Source: two-stage Deformable DETR (Zhu et al., ICLR 2021),
DAB-DETR (Liu et al., ICLR 2022), RT-DETR (Zhao et al., CVPR 2024); the code is our own.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn

from .layers import Backbone, BoxHead, DecoderLayer, EncoderLayer, sine_embedding

# Side of a token's first box guess, in image sides.
ANCHOR = 0.2
# First score of every class: few of the tokens are objects.
PRIOR = 0.01


@final
class DemoDetector(nn.Module):
    """Detections of any (batch, 3, height, width) image in 0..1 that has at least ``queries`` 8x8 cells.

    Args:
        num_labels: classes; scores are sigmoids.
        width: channels of tokens and queries, a multiple of 4 and of ``heads``.
        encoder_layers, decoder_layers: at least 0 and 1.
        queries: detections per image.
        heads: attention heads.
        dropout: in the feed-forward blocks.

    Raises:
        ValueError: a count is too small, or the width does not divide.
    """

    def __init__(
        self,
        num_labels: int,
        width: int = 96,
        encoder_layers: int = 1,
        decoder_layers: int = 3,
        queries: int = 30,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(num_labels, decoder_layers, queries, heads) < 1 or encoder_layers < 0:
            raise ValueError("num_labels, decoder_layers, queries and heads are at least 1, encoder_layers at least 0")
        if width < 4 or width % 4 or width % heads:
            raise ValueError(f"width {width} is not a multiple of 4 and of heads {heads}")
        self.num_labels = num_labels
        self.queries = queries
        self.width = width
        self.backbone = Backbone(width)
        self.encoder = nn.ModuleList([EncoderLayer(width, heads, 2 * width, dropout) for _ in range(encoder_layers)])
        self.proposal_norm = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.proposal_class_head = nn.Linear(width, num_labels)
        self.proposal_box_head = BoxHead(width)
        self.query_position = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.decoder = nn.ModuleList([DecoderLayer(width, heads, 2 * width, dropout) for _ in range(decoder_layers)])
        self.class_heads = nn.ModuleList([nn.Linear(width, num_labels) for _ in range(decoder_layers)])
        self.box_heads = nn.ModuleList([BoxHead(width) for _ in range(decoder_layers)])
        for head in [self.proposal_class_head, *self.class_heads]:
            assert isinstance(head, nn.Linear)
            nn.init.constant_(head.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, pixel_values: Tensor) -> dict[str, Any]:
        """``logits`` (B, queries, num_labels) and ``pred_boxes`` (B, queries, 4), cxcywh in 0..1.

        In training also ``aux_outputs``: the same of the chosen tokens and of every decoder layer but the last.
        """
        features = self.backbone(pixel_values)
        tokens = features.flatten(2).transpose(1, 2)
        grid = _grid(features)
        position = sine_embedding(grid[:, :2], self.width // 2)
        for layer in self.encoder:
            tokens = layer(tokens, position)

        proposals = self.proposal_norm(tokens)
        scores = self.proposal_class_head(proposals)
        shifts = self.proposal_box_head(proposals) + torch.logit(grid)
        chosen = scores.amax(-1).topk(self.queries, dim=1).indices[..., None]
        scores = scores.gather(1, chosen.expand(-1, -1, self.num_labels))
        reference = shifts.gather(1, chosen.expand(-1, -1, 4)).sigmoid()
        states = proposals.gather(1, chosen.expand(-1, -1, self.width)).detach()

        layers = [{"logits": scores, "pred_boxes": reference}]
        for layer, class_head, box_head in zip(self.decoder, self.class_heads, self.box_heads, strict=True):
            # Each layer refines a box that it takes as given.
            reference = reference.detach()
            place = self.query_position(sine_embedding(reference, self.width // 2))
            states = layer(states, place, tokens, position)
            reference = (box_head(states) + torch.logit(reference, eps=1e-4)).sigmoid()
            layers.append({"logits": class_head(states), "pred_boxes": reference})
        outputs: dict[str, Any] = dict(layers[-1])
        if self.training:
            outputs["aux_outputs"] = layers[:-1]
        return outputs


def _grid(features: Tensor) -> Tensor:
    """(height * width, 4) first boxes of the tokens: their cell's centre and the anchor's side, in 0..1."""
    height, width = features.shape[-2:]
    y = (torch.arange(height, device=features.device).to(features.dtype) + 0.5) / height
    x = (torch.arange(width, device=features.device).to(features.dtype) + 0.5) / width
    side = torch.full_like(x, ANCHOR)
    centre_x, centre_y = x[None, :].expand(height, -1), y[:, None].expand(-1, width)
    side = side[None, :].expand(height, -1)
    return torch.stack((centre_x, centre_y, side, side), dim=-1).flatten(0, 1)
