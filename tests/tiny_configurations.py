"""Configurations of transformers for small detectors."""

from __future__ import annotations

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
