"""The names that a recipe may give, as literal tuples: what the tables of other rooms must hold, and nothing else."""

from __future__ import annotations

from typing import Literal

Operand = Literal["weight", "activation", "attention"]
Offset = Literal["none", "integer", "real"]

VERSION = 1
OPERANDS: tuple[Operand, ...] = ("weight", "activation", "attention")
LOSSES = ("l2",)
SCHEDULES = ("constant", "step", "cosine", "one_cycle")

MATCHERS = ("foreground", "all")

#: What ``model.roles`` may name: every role that is discovered, or the whole backbone.
ROLES = (
    "backbone",
    "backbone.stem",
    "backbone.body",
    "encoder.attention",
    "encoder.feed_forward",
    "encoder.convolution",
    "encoder.text",
    "decoder.self_attention",
    "decoder.cross_attention",
    "decoder.text_attention",
    "decoder.feed_forward",
    "decoder.position",
    "head.class",
    "head.box",
    "head.proposal",
)

#: What can be compared with the teacher, and what can be aligned: once per decoder layer.
TAPS = (
    "decoder.cross_attention.query",
    "decoder.cross_attention.logits",
    "decoder.cross_attention.output",
    "decoder.layer.output",
)
ALIGNABLE = ("decoder.cross_attention.query",)

#: What may share a scale, per operand.
GRANULARITIES: dict[Operand, tuple[str, ...]] = {
    "weight": ("tensor", "channel"),
    "activation": ("tensor",),
    "attention": ("tensor", "head"),
}
