"""Small detectors with random weights, and labels for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qrecipe.models.demo import DemoDetector

RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage4"],
}
DETR = {
    "backbone_config": RESNET,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 6,
}
DAB_DETR = {("hidden_size" if key == "d_model" else key): value for key, value in DETR.items()}
DEFORMABLE_DETR = {
    **DETR,
    "backbone_config": {**RESNET, "out_features": ["stage2", "stage3", "stage4"]},
    "d_model": 32,
    "encoder_n_points": 2,
    "decoder_n_points": 2,
    "two_stage_num_proposals": 6,
}
YOLOS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": [64, 96],
    "num_detection_tokens": 6,
}
HGNET = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 32],
    "stage_mid_channels": [8, 8, 8],
    "stage_out_channels": [16, 32, 32],
    "stage_num_blocks": [1, 1, 1],
    "stage_downsample": [False, True, True],
    "stage_light_block": [False, False, True],
    "stage_kernel_size": [3, 3, 3],
    "stage_numb_of_layers": [1, 1, 1],
    "depths": [1, 1, 1],
    "hidden_sizes": [16, 32, 32],
    "out_indices": [3],
}
DEIMV2 = {
    "backbone_config": HGNET,
    "encoder_type": "lite",
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [32],
    "feat_strides": [16, 32],
    "hidden_expansion": 0.34,
    "depth_mult": 0.5,
    "d_model": 16,
    "num_queries": 8,
    "decoder_in_channels": [16, 16],
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 2,
    "num_feature_levels": 2,
    "decoder_n_points": [2, 1],
    "decoder_layers": 3,
    "use_gateway": False,
    "share_bbox_head": True,
    "encoder_layers": 0,
    "freeze_backbone_batch_norms": False,
}
RT_DETR = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [16, 16, 16],
    "encoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 7,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 16,
    "decoder_n_points": 2,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "freeze_backbone_batch_norms": False,
}
D_FINE = {
    **RT_DETR,
    "backbone_config": {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 8, 16, 16],
        "stage_mid_channels": [4, 4, 8, 8],
        "stage_out_channels": [8, 16, 16, 16],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 3, 3],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 16, 16],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "hidden_expansion": 0.5,
    "depth_mult": 0.34,
    "decoder_n_points": [2, 1, 2],
    "max_num_bins": 8,
}
GROUPED = {
    "d_model": 16,
    "decoder_layers": 2,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "decoder_n_points": 2,
    "num_queries": 5,
    "group_detr": 2,
    "c2f_num_blocks": 1,
}
LW_DETR = {
    **GROUPED,
    "backbone_config": {
        "model_type": "lw_detr_vit",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "pretrain_image_size": 64,
        "window_block_indices": [0],
        "num_windows": 4,
        "out_indices": [1, 2],
        "mlp_ratio": 2,
    },
    "projector_scale_factors": [1.0],
}
RF_DETR = {
    **GROUPED,
    "backbone_config": {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "num_windows": 2,
        "mlp_ratio": 2,
        "out_features": ["stage1", "stage2"],
    },
    "dropout": 0.0,
}

SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_indices": [3, 4],
    "drop_path_rate": 0.1,
}

PROMPT = [101, 300, 1012, 400, 401, 1012, 500, 1012, 102]
"""Three phrases of one, two and one tokens."""
GROUNDING_DINO = {
    "backbone_config": {**RESNET, "out_features": ["stage2", "stage3", "stage4"]},
    "text_config": {
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 1100,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 6,
    "encoder_n_points": 2,
    "decoder_n_points": 2,
    "max_text_len": 32,
    "dropout": 0.0,
    "fusion_droppath": 0.0,
    "disable_custom_kernels": True,
}


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
