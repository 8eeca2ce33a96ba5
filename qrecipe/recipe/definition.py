"""A recipe as frozen dataclasses. The loader builds them; nothing else in qrecipe reads YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import RecipeError
from .names import Target as Target
from .places import OVERRIDE as OVERRIDE
from .places import KeyPath as KeyPath
from .places import Mark as Mark
from .places import Spot as Spot
from .places import dotted as dotted
from .quantize_specs import CalibrationSpec as CalibrationSpec
from .quantize_specs import QuantizerSpec as QuantizerSpec
from .quantize_specs import QuantizeSpec as QuantizeSpec
from .quantize_specs import ReconstructSpec as ReconstructSpec
from .quantize_specs import Rule as Rule


@dataclass(frozen=True)
class WeightsSource:
    """What fills the model: exactly one of hub, folder, file, builtin; paths are absolute."""

    hub: str | None = None
    revision: str | None = None
    folder: Path | None = None
    file: Path | None = None
    builtin: str | None = None


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes an input; ``None`` leaves the family's default.

    size: (height, width) in pixels, every image resized to exactly that; or None with shortest/longest.
    shortest, longest: DETR's resize: the shorter side to ``shortest``, unless the longer would pass ``longest``.
    within: (height, width) that an image is made as large as possible for, its aspect kept.
    multiple: of how many pixels both sides are, cut down after such a resize that keeps the aspect.
    mean, std: per RGB channel, of values in 0..1. mask: whether a ``pixel_mask`` is given and batches are padded.
    grey_range: values of grey of more than 8 bits that become black and white; None is all of 16 bits.
    """

    size: tuple[int, int] | None = None
    shortest: int | None = None
    longest: int | None = None
    within: tuple[int, int] | None = None
    multiple: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    mask: bool | None = None
    grey_range: tuple[int, int] | None = None


@dataclass(frozen=True)
class ModelSpec:
    """What to build (architecture and config, or a factory) and what to fill it with."""

    architecture: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    factory: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels_argument: str | None = None
    labels: Literal["auto", "contiguous", "category_id"] = "auto"
    weights: WeightsSource | None = None
    family: str | None = None
    input: InputSpec = field(default_factory=InputSpec)
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AlignSpec:
    """Distribution alignment (Q-DETR 2.32) at a role. init ``fit`` is least squares, ``identity`` gamma 1, beta 0.

    blend: how much of it there is is learned, beginning with none of it; None is all of it.
    """

    at: str
    per: Literal["head", "query"] = "head"
    init: Literal["fit", "identity"] = "fit"
    blend: Literal["learned"] | None = None


@dataclass(frozen=True)
class MatchSpec:
    """Which student queries learn from which teacher queries (Q-DETR 2.33-2.35). kind: a row of the matchers; which of
    the others it reads stands there."""

    kind: str = "foreground"
    tau: float = 0.6
    giou: float = 2.0
    l1: float = 5.0


@dataclass(frozen=True)
class TargetSpec:
    """One distillation target: a tapped role, on the last or on all decoder layers or levels; or a prediction.

    anneal: how the weight goes to 0 over training; None keeps it.
    """

    at: str
    layers: Literal["last", "all"] = "last"
    loss: str = "l2"
    weight: float = 1.0
    match: MatchSpec = field(default_factory=MatchSpec)
    anneal: Literal["linear", "cosine"] | None = None


@dataclass(frozen=True)
class DistillSpec:
    align: tuple[AlignSpec, ...] = ()
    targets: tuple[TargetSpec, ...] = ()


@dataclass(frozen=True)
class StageSpec:
    """A stretch of training. quantize: the role globs that are quantized while it runs; None means all."""

    name: str
    epochs: int
    quantize: tuple[str, ...] | None = None


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
class TrainSpec:
    """accumulate: batches of an optimizer step. patience: epochs without a better AP after which training ends; None is
    all of them. keep: checkpoints of the last epochs, ``best`` not counted. limit: most epochs of a stage, to which
    ``stages`` is cut already. trackers: experiment trackers that are told too."""

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
    ema: EmaSpec | None = None
    dampen: DampenSpec | None = None
    patience: int | None = None
    keep: int = 2
    limit: int | None = None
    trackers: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)


@dataclass(frozen=True)
class SplitSpec:
    """One split: a folder of images and a COCO json, absolute."""

    images: Path
    annotations: Path


@dataclass(frozen=True)
class TransformSpec:
    """Training transforms. flip: probability. multiscale: shortest sides to draw. crop: DETR's random size crop."""

    flip: float = 0.5
    multiscale: tuple[int, ...] = ()
    crop: bool = False


@dataclass(frozen=True)
class SyntheticSpec:
    """The embedded default data: shapes on textured grounds. Counts are images per split; size in pixels."""

    train: int = 512
    val: int = 128
    test: int = 128
    size: int = 128
    seed: int = 0


SPLITS = ("train", "val", "test")
"""What data is divided into; each names a field of :class:`DataSpec`."""


@dataclass(frozen=True)
class DataSpec:
    """limit: images of each split, the first ones; None is all."""

    format: Literal["coco", "synthetic"] = "synthetic"
    train: SplitSpec | None = None
    val: SplitSpec | None = None
    test: SplitSpec | None = None
    synthetic: SyntheticSpec = field(default_factory=SyntheticSpec)
    transforms: TransformSpec = field(default_factory=TransformSpec)
    workers: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. ``resolved`` is the resolved YAML as plain data (what a run folder keeps); ``marks`` says where
    each of its values stands."""

    name: str
    model: ModelSpec
    quantize: QuantizeSpec
    distill: DistillSpec
    train: TrainSpec
    data: DataSpec
    teacher: ModelSpec | None = None
    seed: int = 0
    version: int = 1
    output: Path | None = None
    target: Target | None = None
    resolved: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    marks: Mapping[KeyPath, Mark] = field(default_factory=dict, repr=False, compare=False)

    @property
    def limits(self) -> tuple[str, ...]:
        """What makes a run of it a smoke test, which says nothing of what the recipe is worth; nothing in most."""
        epochs, images = self.train.limit, self.data.limit
        stages = [] if epochs is None else [f"at most {epochs} epoch{'s'[: epochs != 1]} of a stage"]
        first = [] if images is None else [f"the first {images} image{'s'[: images != 1]} of each split"]
        return (*first, *stages)

    def where(self, path: KeyPath) -> Spot:
        """``file:line:column: dotted.path`` of the value at ``path``, or of its nearest parent in a file."""
        for length in range(len(path), -1, -1):
            mark = self.marks.get(path[:length])
            if mark is not None:
                return Spot(f"{mark}: {dotted(path)}", mark, path)
        return Spot(dotted(path), None, path)

    def error(self, path: KeyPath, what: str, remedy: str | None = None) -> RecipeError:
        """An error located at a value of this recipe."""
        return RecipeError(what, where=self.where(path), remedy=remedy)
