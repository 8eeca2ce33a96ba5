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
from .quantize_specs import WholeSpec as WholeSpec
from .train_specs import DampenSpec as DampenSpec
from .train_specs import EmaSpec as EmaSpec
from .train_specs import FreezeSpec as FreezeSpec
from .train_specs import LossSpec as LossSpec
from .train_specs import OptimizerSpec as OptimizerSpec
from .train_specs import ScheduleSpec as ScheduleSpec
from .train_specs import StageSpec as StageSpec
from .train_specs import TrainSpec as TrainSpec


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
    project: whether the student's feature is brought to the teacher's width by a linear layer that is learned.
    """

    at: str
    layers: Literal["last", "all"] = "last"
    loss: str = "l2"
    weight: float = 1.0
    match: MatchSpec = field(default_factory=MatchSpec)
    anneal: Literal["linear", "cosine"] | None = None
    project: Literal["learned"] | None = None


@dataclass(frozen=True)
class DistillSpec:
    align: tuple[AlignSpec, ...] = ()
    targets: tuple[TargetSpec, ...] = ()


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
