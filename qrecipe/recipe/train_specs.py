"""The ``train`` part of a recipe as frozen dataclasses: stages, optimizer, schedule, losses, what goes on beside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class StageSpec:
    """A stretch of training. quantize: the role globs that are quantized while it runs; None means all.

    bits: no quantizer has fewer while it runs; None leaves each its own.
    """

    name: str
    epochs: int
    quantize: tuple[str, ...] | None = None
    bits: int | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """AdamW. ``lr_backbone`` and ``lr_quantizer`` default to ``lr``. Norms, biases, scales, offsets: no weight decay.

    lr_quantizer is a share: a step of it changes a scale by that share of itself, a zero point by that of a level.
    """

    name: Literal["adamw"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    lr_backbone: float | None = None
    lr_quantizer: float | None = None


@dataclass(frozen=True)
class ScheduleSpec:
    """Learning rate over all stages. warmup in optimizer steps; drop_at in epochs from the start of training."""

    name: Literal["constant", "step", "cosine", "one_cycle"] = "constant"
    warmup: int = 0
    drop_at: tuple[int, ...] = ()
    factor: float = 0.1
    final: float = 0.0


@dataclass(frozen=True)
class LossSpec:
    """The detection loss. Families of transformers take their own coefficients from the model's config and read only
    ``auxiliary`` and ``denoising``; the built-in DETR criterion reads the rest."""

    classification: Literal["cross_entropy", "focal"] | None = None
    no_object: float = 0.1
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    class_weight: float | None = None
    l1: float = 5.0
    giou: float = 2.0
    auxiliary: bool = True
    denoising: bool | None = None


@dataclass(frozen=True)
class EmaSpec:
    """Exponential moving average. warmup: optimizer steps in which the decay nears ``decay``, as RT-DETR has it."""

    decay: float = 0.9999
    warmup: int = 2000


@dataclass(frozen=True)
class DampenSpec:
    """A pull of weights towards their levels (Nagel et al., ICML 2022). weight: in the loss, at the end of training."""

    weight: float


@dataclass(frozen=True)
class FreezeSpec:
    """Iterative weight freezing (Nagel et al., ICML 2022): the frequency of oscillations, turns a step, beyond which a
    weight is frozen falls from threshold to final; momentum is that of its exponential average. As their code has it.
    """

    threshold: float = 0.1
    final: float = 0.01
    momentum: float = 0.001


@dataclass(frozen=True)
class TrainSpec:
    """accumulate: batches of an optimizer step. checkpointing: of activations. patience: epochs without a better AP
    after which training ends, at one that is scored; None is all of them. keep: checkpoints of the last epochs,
    ``best`` not counted. limit: most epochs of a stage, to which ``stages`` is cut already. trackers: experiment
    trackers that are told too."""

    stages: tuple[StageSpec, ...] = ()
    batch_size: int = 8
    accumulate: int = 1
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    clip_norm: float | None = 0.1
    loss: LossSpec = field(default_factory=LossSpec)
    control: bool = False
    evaluate_every: int = 1
    precision: Literal["no", "bf16"] = "no"
    checkpointing: bool = False
    ema: EmaSpec | None = None
    dampen: DampenSpec | None = None
    freeze_oscillating: FreezeSpec | None = None
    patience: int | None = None
    keep: int = 2
    limit: int | None = None
    trackers: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)
