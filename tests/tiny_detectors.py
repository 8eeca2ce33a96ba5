"""Small detectors with random weights, and labels for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qrecipe.models.demo import DemoDetector
from tests.tiny_configurations import (
    D_FINE,
    DAB_DETR,
    DEFORMABLE_DETR,
    DEIMV2,
    DETR,
    GROUNDING_DINO,
    LW_DETR,
    PROMPT,
    RF_DETR,
    RT_DETR,
    YOLOS,
)


def stir(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter a little, so that no norm is the identity and no two scores tie."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def tiny_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection

    torch.manual_seed(0)
    return DetrForObjectDetection(DetrConfig(**{**DETR, "num_labels": labels, "dropout": 0.0, **changes}))


def tiny_conditional_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    torch.manual_seed(0)
    given = {**DETR, "num_labels": labels, "dropout": 0.0, **changes}
    return ConditionalDetrForObjectDetection(ConditionalDetrConfig(**given))


def tiny_dab_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import DabDetrConfig, DabDetrForObjectDetection

    torch.manual_seed(0)
    return DabDetrForObjectDetection(DabDetrConfig(**{**DAB_DETR, "num_labels": labels, "dropout": 0.0, **changes}))


def tiny_table_transformer(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import TableTransformerConfig, TableTransformerForObjectDetection

    torch.manual_seed(0)
    given = {**DETR, "num_labels": labels, "dropout": 0.0, **changes}
    return TableTransformerForObjectDetection(TableTransformerConfig(**given))


def tiny_deformable_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection

    torch.manual_seed(0)
    given = {**DEFORMABLE_DETR, "num_labels": labels, "dropout": 0.0, **changes}
    return DeformableDetrForObjectDetection(DeformableDetrConfig(**given))


def tiny_yolos(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import YolosConfig, YolosForObjectDetection

    torch.manual_seed(0)
    return YolosForObjectDetection(YolosConfig(**{**YOLOS, "num_labels": labels, **changes}))


def tiny_deimv2(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import Deimv2Config, Deimv2ForObjectDetection

    torch.manual_seed(0)
    return Deimv2ForObjectDetection(Deimv2Config(**{**DEIMV2, "num_labels": labels, **changes}))


def tiny_rt_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import RTDetrConfig, RTDetrForObjectDetection

    torch.manual_seed(0)
    return RTDetrForObjectDetection(RTDetrConfig(**{**RT_DETR, "num_labels": labels, **changes}))


def tiny_rt_detr_v2(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    torch.manual_seed(0)
    return RTDetrV2ForObjectDetection(RTDetrV2Config(**{**RT_DETR, "num_labels": labels, **changes}))


def tiny_d_fine(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import DFineConfig, DFineForObjectDetection

    torch.manual_seed(0)
    return DFineForObjectDetection(DFineConfig(**{**D_FINE, "num_labels": labels, **changes}))


def tiny_lw_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import LwDetrConfig, LwDetrForObjectDetection

    torch.manual_seed(0)
    return LwDetrForObjectDetection(LwDetrConfig(**{**LW_DETR, "num_labels": labels, **changes}))


def tiny_rf_detr(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import RfDetrConfig, RfDetrForObjectDetection

    torch.manual_seed(0)
    return RfDetrForObjectDetection(RfDetrConfig(**{**RF_DETR, "num_labels": labels, **changes}))


def tiny_grounding_dino(**changes: object) -> nn.Module:
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    torch.manual_seed(0)
    return GroundingDinoForObjectDetection(GroundingDinoConfig(**{**GROUNDING_DINO, "prompt_ids": PROMPT, **changes}))


def tiny_demo(labels: int = 3, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    return DemoDetector(labels, **{"width": 8, "queries": 4, "heads": 2, **changes})


TINY: dict[str, Callable[..., nn.Module]] = {
    "detr": tiny_detr,
    "conditional_detr": tiny_conditional_detr,
    "dab-detr": tiny_dab_detr,
    "table-transformer": tiny_table_transformer,
    "deformable_detr": tiny_deformable_detr,
    "yolos": tiny_yolos,
    "rt_detr": tiny_rt_detr,
    "rt_detr_v2": tiny_rt_detr_v2,
    "d_fine": tiny_d_fine,
    "deimv2": tiny_deimv2,
    "lw_detr": tiny_lw_detr,
    "rf_detr": tiny_rf_detr,
    "grounding-dino": tiny_grounding_dino,
    "demo": tiny_demo,
}
"""A detector for every row of the table of families but the generic one; tests of all families run over it."""


def some_labels(counts: tuple[int, ...], classes: int = 3, seed: int = 1) -> list[dict[str, Tensor]]:
    """Per image ``class_labels`` (n,) and ``boxes`` (n, 4), cxcywh well inside the image."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "class_labels": torch.randint(classes, (count,), generator=generator),
            "boxes": 0.2 + 0.4 * torch.rand(count, 4, generator=generator),
        }
        for count in counts
    ]


def some_images(batch: int, height: int = 96, width: int = 128, seed: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
