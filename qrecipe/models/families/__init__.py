"""Which families there are, and which one a model belongs to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from ...errors import ModelError
from ...recipe.definition import LossSpec
from ..located import did_you_mean
from .base import Family, Labels
from .conditional_detr import ConditionalDetrFamily
from .dab_detr import DabDetrFamily
from .deformable_detr import DeformableDetrFamily
from .detr import DetrFamily
from .generic import GenericFamily
from .grounding_dino import GroundingDinoFamily
from .grouped import GroupedFamily
from .real_time import RealTimeFamily
from .yolos import YolosFamily

__all__ = ["FAMILIES", "Family", "Labels", "build_family", "family_of_type", "find_family", "known_family"]

FAMILIES: dict[str, Callable[[nn.Module, LossSpec, int | None], Family]] = {
    "detr": DetrFamily.of,
    "conditional_detr": ConditionalDetrFamily.of,
    "dab-detr": DabDetrFamily.of,
    "table-transformer": DetrFamily.table_transformer,
    "deformable_detr": DeformableDetrFamily.of,
    "yolos": YolosFamily.of,
    "rt_detr": partial(RealTimeFamily.of, "rt_detr"),
    "rt_detr_v2": partial(RealTimeFamily.of, "rt_detr_v2"),
    "d_fine": partial(RealTimeFamily.of, "d_fine"),
    "deimv2": partial(RealTimeFamily.of, "deimv2"),
    "lw_detr": partial(GroupedFamily.of, "lw_detr"),
    "rf_detr": partial(GroupedFamily.of, "rf_detr"),
    "grounding-dino": GroundingDinoFamily.of,
    "generic": GenericFamily.of,
    "demo": GenericFamily.demo,
}
# By module and name, so that transformers need not be imported to look.
FAMILY_OF_CLASS: dict[str, str] = {
    "transformers.models.detr.modeling_detr.DetrForObjectDetection": "detr",
    "transformers.models.conditional_detr.modeling_conditional_detr.ConditionalDetrForObjectDetection": (
        "conditional_detr"
    ),
    "transformers.models.dab_detr.modeling_dab_detr.DabDetrForObjectDetection": "dab-detr",
    "transformers.models.table_transformer.modeling_table_transformer.TableTransformerForObjectDetection": (
        "table-transformer"
    ),
    "transformers.models.deformable_detr.modeling_deformable_detr.DeformableDetrForObjectDetection": "deformable_detr",
    "transformers.models.yolos.modeling_yolos.YolosForObjectDetection": "yolos",
    "transformers.models.rt_detr.modeling_rt_detr.RTDetrForObjectDetection": "rt_detr",
    "transformers.models.rt_detr_v2.modeling_rt_detr_v2.RTDetrV2ForObjectDetection": "rt_detr_v2",
    "transformers.models.d_fine.modeling_d_fine.DFineForObjectDetection": "d_fine",
    "transformers.models.deimv2.modeling_deimv2.Deimv2ForObjectDetection": "deimv2",
    "transformers.models.lw_detr.modeling_lw_detr.LwDetrForObjectDetection": "lw_detr",
    "transformers.models.rf_detr.modeling_rf_detr.RfDetrForObjectDetection": "rf_detr",
    "transformers.models.grounding_dino.modeling_grounding_dino.GroundingDinoForObjectDetection": "grounding-dino",
    "qrecipe.models.demo.detector.DemoDetector": "demo",
}
FAMILY_OF_TYPE: dict[str, str] = {
    "detr": "detr",
    "conditional_detr": "conditional_detr",
    "dab-detr": "dab-detr",
    "table-transformer": "table-transformer",
    "deformable_detr": "deformable_detr",
    "yolos": "yolos",
    "rt_detr": "rt_detr",
    "rt_detr_v2": "rt_detr_v2",
    "d_fine": "d_fine",
    "deimv2": "deimv2",
    "lw_detr": "lw_detr",
    "rf_detr": "rf_detr",
    "grounding-dino": "grounding-dino",
}
UNKNOWN_SIZE = (256, 256)
"""(height, width) of the images at which one's own module is tried where nothing says what it takes."""
TRANSFORMERS = "transformers.modeling_utils.PreTrainedModel"


def find_family(model: nn.Module) -> str:
    """The family of a model by its class or a base class of it; ``generic`` for one's own module.

    Raises:
        ModelError: a detector of transformers that no family knows.
    """
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(model).__mro__]
    for name in names:
        if name in FAMILY_OF_CLASS:
            return FAMILY_OF_CLASS[name]
    if TRANSFORMERS in names:
        raise _unknown(type(model).__name__)
    return "generic"


def family_of_type(model_type: str) -> str:
    """The family of transformers' ``config.model_type``.

    Raises:
        ModelError: no family knows it.
    """
    if model_type not in FAMILY_OF_TYPE:
        raise _unknown(model_type)
    return FAMILY_OF_TYPE[model_type]


def known_family(name: str) -> str:
    """The name itself, if it is a row of ``FAMILIES``.

    Raises:
        ModelError: it is not.
    """
    if name not in FAMILIES:
        hint = did_you_mean(name, FAMILIES)
        raise ModelError(f'no family "{name}"', remedy=f"{hint}families are {', '.join(FAMILIES)}")
    return name


def build_family(
    model: nn.Module,
    loss_spec: LossSpec,
    name: str | None = None,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> Family:
    """The family that reads this model.

    Args:
        name: a row of ``FAMILIES``; None finds it by the model's class.
        classes: the number of classes that the model was made for, where its configuration does not say.
        size: (height, width) of images that one's own module takes, in pixels, where that is known.

    Raises:
        ModelError: no such family, or the model's output cannot be read by it.
    """
    chosen = find_family(model) if name is None else known_family(name)
    if chosen == "generic":
        return GenericFamily.of(model, loss_spec, classes, size or UNKNOWN_SIZE)
    try:
        return FAMILIES[chosen](model, loss_spec, classes)
    except AttributeError as error:
        raise ModelError(
            f"{type(model).__name__} cannot be read as {chosen}: {error}",
            remedy="leave model.family out, or name another one",
        ) from error


def _unknown(what: str) -> ModelError:
    return ModelError(
        f"no family knows how to read {what} of transformers",
        remedy=f"known are {', '.join(FAMILIES)}; with model.family: generic its logits and pred_boxes are read as "
        "they are, and trained with the built-in DETR criterion",
    )
