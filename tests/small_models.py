"""Every architecture of the shipped recipes, small: its configuration."""

from __future__ import annotations

from typing import Any

from benchmarks.coverage import CLASSES
from tests.tiny_configurations import (
    D_FINE,
    DAB_DETR,
    DEFORMABLE_DETR,
    DEIMV2,
    DETR,
    GROUNDING_DINO,
    LW_DETR,
    RESNET,
    RF_DETR,
    RT_DETR,
    SWIN,
    YOLOS,
)

TWO_LAYERS = {"decoder_layers": 2, "dropout": 0.0}


def two_levels(config: dict[str, Any]) -> dict[str, Any]:
    """A real-time detector that reads two levels of features instead of three, as D-FINE-N does."""
    widths = {name: config[name][1:] for name in ("encoder_in_channels", "decoder_in_channels")}
    backbone = {**config["backbone_config"], "out_features": ["stage3", "stage4"]}
    levels = {"feat_strides": [16, 32], "num_feature_levels": 2, "encode_proj_layers": [1]}
    return {**config, **widths, **levels, "backbone_config": backbone}


SMALL: dict[str, dict[str, Any]] = {
    "demo": {"width": 16, "queries": 6, "decoder_layers": 1, "heads": 2},
    "detr": DETR | TWO_LAYERS,
    "conditional_detr": DETR | TWO_LAYERS,
    "dab-detr": DAB_DETR | TWO_LAYERS,
    "table-transformer": DETR | TWO_LAYERS,
    "deformable_detr": {
        **DEFORMABLE_DETR,
        **TWO_LAYERS,
        "backbone_config": {**RESNET, "out_features": ["stage3", "stage4"]},
        "num_feature_levels": 2,
        "with_box_refine": True,
        "two_stage": True,
    },
    "yolos": YOLOS,
    "rt_detr": two_levels(RT_DETR),
    "rt_detr_v2": two_levels(RT_DETR) | {"decoder_n_levels": 2},
    "d_fine": two_levels(D_FINE) | {"decoder_n_points": [2, 1]},
    "deimv2": DEIMV2 | {"decoder_layers": 2, "depth_mult": 0.34},
    "lw_detr": LW_DETR,
    "rf_detr": RF_DETR,
    "grounding-dino": {
        **GROUNDING_DINO,
        "backbone_config": {**SWIN, "depths": [2, 1], "num_heads": [1, 2], "out_indices": [1, 2]},
        "num_feature_levels": 2,
        "prompt_ids": [101, *(token for number in range(CLASSES) for token in (300 + number, 1012)), 102],
    },
}
"""By architecture: the configuration that makes a recipe's model small. A capture's time is that of its nodes."""
