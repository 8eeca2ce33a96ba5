"""Small detectors with random weights, and labels for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


def tiny_deimv2(labels: int = 3, **changes: object) -> nn.Module:
    from transformers import Deimv2Config, Deimv2ForObjectDetection

    torch.manual_seed(0)
    return Deimv2ForObjectDetection(Deimv2Config(**{**DEIMV2, "num_labels": labels, **changes}))


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
