"""A tapped value as one feature per query, which is what matched queries are compared by (Q-DETR eq. 2.37)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

TapLayout = Literal["bqc", "bhqc", "bqhc", "map"]
"""What a tap's dimensions are: batch, queries, heads, channels; or a map, (batch, ...)."""


def query_features(value: Tensor, layout: TapLayout) -> Tensor:
    """(batch, queries, channels), the heads' channels side by side. A map is one feature: (batch, 1, all of it).

    Attention logits have as many channels per head as there are keys: student and teacher see the same image.
    """
    if layout == "map":
        return value.flatten(1)[:, None]
    return (value.transpose(1, 2) if layout == "bhqc" else value).flatten(2)
