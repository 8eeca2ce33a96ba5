"""The names that several rooms share: kinds of operands, roles, what can be tapped, what is added to a model."""

from __future__ import annotations

from typing import Literal

OperandKind = Literal["weight", "activation", "attention"]
"""Which of a recipe's defaults applies to an operand."""
OPERAND_KINDS: tuple[OperandKind, ...] = ("weight", "activation", "attention")

ROLES = (
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
"""Every role that discovery gives."""
OVERRIDABLE = ("backbone", *ROLES)
"""What ``roles:`` in a recipe may name: a role, or the whole backbone."""

QUERY = "decoder.cross_attention.query"
LOGITS = "decoder.cross_attention.logits"
FEATURE = "decoder.cross_attention.output"
LAYER_OUTPUT = "decoder.layer.output"
TAPS = (QUERY, LOGITS, FEATURE, LAYER_OUTPUT)
"""What can be tapped, and compared with the teacher, once per decoder layer."""
BACKBONE_OUTPUT = "backbone.output"
ENCODER_OUTPUT = "encoder.output"
MAPS = (BACKBONE_OUTPUT, ENCODER_OUTPUT)
"""What can be tapped, and compared with the teacher, once per level: feature maps."""
PREDICTED_CLASSES = "head.class"
PREDICTED_BOXES = "head.box"
PREDICTIONS = (PREDICTED_CLASSES, PREDICTED_BOXES)
"""What the last decoder layer leads to: compared with the teacher as it is read, not tapped."""
DISTILLABLE = (*TAPS, *MAPS, *PREDICTIONS)
"""What a distillation target may name."""
ALIGNABLE = (QUERY,)
"""What can be aligned, once per decoder layer."""
KEY = "decoder.cross_attention.key"
"""Known where an attention is one operation still: its logits are there once it is decomposed."""

CONSTANTS = "constants"
DROPOUTS = "dropouts"
FAKE_QUANTIZERS = "fake_quantizers"
ALIGNMENTS = "alignments"
CORRECTIONS = "corrections"
ADDED = (CONSTANTS, DROPOUTS, FAKE_QUANTIZERS, ALIGNMENTS, CORRECTIONS)
"""Names under which parts are added to a captured model, by the capture or by a pass."""
