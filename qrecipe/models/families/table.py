"""All families: a new one is a file and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from ...recipe.definition import LossSpec
from .base import Family
from .conditional_detr import ConditionalDetrFamily
from .dab_detr import DabDetrFamily
from .deformable_detr import DeformableDetrFamily
from .detr import DetrFamily
from .generic import GenericFamily
from .grounding_dino import GroundingDinoFamily
from .grouped import Grouped, GroupedFamily
from .real_time import RealTime, RealTimeFamily
from .yolos import YolosFamily

COCO = 80
COCO_IDS = 91
"""Heads of DETR's kind have a column for every id up to COCO's last."""


@dataclass(frozen=True)
class FamilyRow:
    """What is known of a family before a model is there. Of transformers' the name is also the recipe's
    ``model.architecture``, and ``config.model_type``.

    make: the family of a model, for ``train.loss`` and the number of classes that the model was made for, if known.
    model: top package and name of the class that it reads, so that transformers need not be imported to look; None is
        any class. classes: of its published weights. resnet: the backbone of its smallest published model, where that
        is a ResNet. prompted: its configuration holds a text prompt, under ``prompt_ids``.
    """

    make: Callable[[nn.Module, LossSpec, int | None], Family]
    model: str | None
    classes: int = COCO
    resnet: str | None = None
    prompted: bool = False


FAMILIES: dict[str, FamilyRow] = {
    "detr": FamilyRow(DetrFamily.of, "transformers.DetrForObjectDetection", COCO_IDS, "resnet50"),
    "conditional_detr": FamilyRow(
        ConditionalDetrFamily.of, "transformers.ConditionalDetrForObjectDetection", COCO_IDS, "resnet50"
    ),
    "dab-detr": FamilyRow(DabDetrFamily.of, "transformers.DabDetrForObjectDetection", COCO_IDS, "resnet50"),
    "table-transformer": FamilyRow(
        DetrFamily.table_transformer, "transformers.TableTransformerForObjectDetection", 2, "resnet18"
    ),
    "deformable_detr": FamilyRow(
        DeformableDetrFamily.of, "transformers.DeformableDetrForObjectDetection", COCO_IDS, "resnet50"
    ),
    "yolos": FamilyRow(YolosFamily.of, "transformers.YolosForObjectDetection", COCO_IDS),
    "rt_detr": FamilyRow(
        partial(RealTimeFamily.of, RealTime("rt_detr", "RT-DETR", "loss_rt_detr.RTDetrLoss")),
        "transformers.RTDetrForObjectDetection",
    ),
    "rt_detr_v2": FamilyRow(
        partial(RealTimeFamily.of, RealTime("rt_detr_v2", "RT-DETRv2", "loss_rt_detr.RTDetrLoss")),
        "transformers.RTDetrV2ForObjectDetection",
    ),
    "d_fine": FamilyRow(
        partial(RealTimeFamily.of, RealTime("d_fine", "D-FINE", "loss_d_fine.DFineLoss")),
        "transformers.DFineForObjectDetection",
    ),
    "deimv2": FamilyRow(
        partial(RealTimeFamily.of, RealTime("deimv2", "DEIMv2", "loss_deimv2.Deimv2Loss", "loss_mal")),
        "transformers.Deimv2ForObjectDetection",
    ),
    # Its backbone's image_size is 1024 in the published configurations, all of which were trained at 640.
    "lw_detr": FamilyRow(
        partial(GroupedFamily.of, Grouped("lw_detr", "LwDetrForObjectDetection", 640)),
        "transformers.LwDetrForObjectDetection",
    ),
    "rf_detr": FamilyRow(
        partial(GroupedFamily.of, Grouped("rf_detr", "RfDetrForObjectDetection", None)),
        "transformers.RfDetrForObjectDetection",
    ),
    "grounding-dino": FamilyRow(GroundingDinoFamily.of, "transformers.GroundingDinoForObjectDetection", prompted=True),
    "generic": FamilyRow(GenericFamily.of, None),
    "demo": FamilyRow(GenericFamily.demo, "qrecipe.DemoDetector"),
}


def architectures() -> tuple[str, ...]:
    """The families of transformers' detectors: names that a recipe's ``model.architecture`` may have."""
    return tuple(name for name, row in FAMILIES.items() if (row.model or "").startswith("transformers."))


def prompted() -> tuple[str, ...]:
    """Those whose configuration holds a prompt."""
    return tuple(name for name, row in FAMILIES.items() if row.prompted)


def resnets() -> dict[str, str]:
    """The backbone of an architecture's smallest published model, where that is a ResNet."""
    return {name: row.resnet for name, row in FAMILIES.items() if row.resnet is not None}


def published_classes(architecture: str | None) -> int:
    """The classes of an architecture's published weights; of another model, COCO's."""
    return FAMILIES[architecture].classes if architecture in FAMILIES else COCO
