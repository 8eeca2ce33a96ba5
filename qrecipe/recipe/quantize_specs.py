"""The ``quantize`` part of a recipe as frozen dataclasses: quantizers, rules, calibration, reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .places import KeyPath


@dataclass(frozen=True)
class QuantizerSpec:
    """One quantizer: bits 2..8; its kind (a row of the quantizer table); what shares a scale; how it starts.

    per: ``tensor``, ``channel`` (weights: output channels), ``head`` (attention operands).
    offset: ``none`` (symmetric), ``integer`` (integer zero point), ``real`` (LSQ+ as published).
    init: a row of the initialiser table; None takes the quantizer's own.
    scale: ``power_of_two`` has scales whose logarithm is whole, as many NPUs need.
    """

    bits: int
    quantizer: str
    per: Literal["tensor", "channel", "head"]
    offset: Literal["none", "integer", "real"] = "none"
    init: str | None = None
    scale: Literal["real", "power_of_two"] = "real"


@dataclass(frozen=True)
class Rule:
    """One rule: patterns that must all match, and what it sets. ``path`` is the rule's place in the recipe.

    A pattern is ``role:GLOB``, ``op:GLOB``, ``re:REGEX`` over module paths, or a GLOB over module paths.
    keep: ``float`` leaves everything that matches real-valued.
    weight, activation, attention: keys to override in the operand's quantizer (``bits``, ``quantizer``, ``per``,
    ``offset``, ``init``, ``scale``), or the string ``float``.
    """

    match: tuple[str, ...]
    path: KeyPath
    keep: Literal["float"] | None = None
    weight: Mapping[str, Any] | Literal["float"] | None = None
    activation: Mapping[str, Any] | Literal["float"] | None = None
    attention: Mapping[str, Any] | Literal["float"] | None = None


@dataclass(frozen=True)
class CalibrationSpec:
    """How many batches of which size set the first ranges; drawn from the training split in order."""

    batches: int = 8
    batch_size: int = 8


@dataclass(frozen=True)
class WholeSpec:
    """Reconstruction of the whole network at once: optimizer steps of ``batch_size`` images each, in whole epochs over
    the first ``images`` of the training split. Learning rates are as ``train.optimizer`` has them."""

    steps: int = 0
    images: int = 1024
    batch_size: int = 4
    lr: float = 3e-4
    lr_quantizer: float = 5e-3


@dataclass(frozen=True)
class ReconstructSpec:
    """Reconstruction, first block by block, then of the whole network.

    batches, batch_size: images of the blocks, drawn as for calibration. iterations: steps per block; 0 rounds with
    compensation alone, None leaves the blocks out. drop: the share of activations whose quantization is dropped
    meanwhile.
    """

    batches: int = 8
    batch_size: int = 8
    iterations: int | None = 500
    drop: float = 0.5
    whole: WholeSpec = field(default_factory=WholeSpec)


@dataclass(frozen=True)
class QuantizeSpec:
    """None for an operand leaves it real-valued. Rules apply in order; the last match wins.

    equalize: scales of channels are moved between weights. smooth: SmoothQuant's alpha; None leaves LayerNorms as they
    are. correct_biases: whether weights' mean errors are taken out at the biases.
    """

    weight: QuantizerSpec | None = None
    activation: QuantizerSpec | None = None
    attention: QuantizerSpec | None = None
    rules: tuple[Rule, ...] = ()
    batch_norm: Literal["frozen", "live"] = "frozen"
    calibration: CalibrationSpec = field(default_factory=CalibrationSpec)
    equalize: bool = False
    smooth: float | None = None
    correct_biases: bool = False
    reconstruct: ReconstructSpec | None = None

    @property
    def asks(self) -> bool:
        """Whether anything may be quantized: a default for some operand, or a rule."""
        return bool(self.weight or self.activation or self.attention or self.rules)
