"""transformers' ResNets in the place of timm's: names of weights, configurations, and what trains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qrecipe.models.families import resnets
from qrecipe.models.loading.build import build_model
from qrecipe.models.resnets import RESNETS, own_names
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import DAB_DETR, DEFORMABLE_DETR, DETR
from tests.tiny_detectors import (
    some_images,
    stir,
    tiny_conditional_detr,
    tiny_dab_detr,
    tiny_deformable_detr,
    tiny_detr,
    tiny_table_transformer,
)

PETS = [(1, "dog"), (3, "cat"), (7, "bird")]
MODELS = {
    "detr": (tiny_detr, DETR),
    "conditional_detr": (tiny_conditional_detr, DETR),
    "dab-detr": (tiny_dab_detr, DAB_DETR),
    "table-transformer": (tiny_table_transformer, DETR),
    "deformable_detr": (tiny_deformable_detr, DEFORMABLE_DETR),
}
PUBLISHED = [  # transformers' name after ``backbone.model.``, timm's name
    ("embedder.embedder.convolution.weight", "conv1.weight"),
    ("embedder.embedder.normalization.running_mean", "bn1.running_mean"),
    ("encoder.stages.0.layers.0.shortcut.convolution.weight", "layer1.0.downsample.0.weight"),
    ("encoder.stages.0.layers.0.shortcut.normalization.bias", "layer1.0.downsample.1.bias"),
    ("encoder.stages.3.layers.2.layer.0.convolution.weight", "layer4.2.conv1.weight"),
    ("encoder.stages.2.layers.10.layer.2.normalization.running_var", "layer3.10.bn3.running_var"),
]


def timms(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict as the published ones are: a ResNet's names as in timm, below ``backbone.conv_encoder``."""

    def renamed(key: str) -> str:
        key = re.sub(r"\bbackbone\.(conv_encoder\.)?model\.", "backbone.conv_encoder.model.", key)
        key = key.replace("embedder.embedder.convolution", "conv1").replace("embedder.embedder.normalization", "bn1")
        kinds = {"convolution": "conv", "normalization": "bn"}
        key = re.sub(
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.(convolution|normalization)",
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.{kinds[m[4]]}{int(m[3]) + 1}",
            key,
        )
        return re.sub(
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.(convolution|normalization)",
            lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.{int(m[3] == 'normalization')}",
            key,
        )

    changed = {renamed(key): value for key, value in state.items()}
    norms = [key.removesuffix("running_var") for key in changed if key.endswith("running_var")]
    return {**changed, **{f"{norm}num_batches_tracked": torch.tensor(7) for norm in norms}}


@pytest.mark.parametrize(("own", "timm"), PUBLISHED)
@pytest.mark.parametrize("before", ["model.backbone.conv_encoder.model.", "model.backbone.model."])
def test_names(own: str, timm: str, before: str) -> None:
    value = torch.zeros(1)
    assert own_names({before + timm: value}) == {before + own: value}
    assert own_names({before + own: value}) == {before + own: value}


def test_other_names_stay() -> None:
    kept = dict.fromkeys(
        ["model.decoder.layers.0.fc1.weight", "model.backbone.model.layers.0.conv1.weight", "conv1.weight"],
        torch.zeros(1),
    )
    assert own_names(kept) == kept


@pytest.mark.parametrize("architecture", MODELS)
def test_published_weights_are_read(architecture: str, tmp_path: Path) -> None:
    """timm's names, the older names of transformers above them, and counters that a frozen norm does not have."""
    build, config = MODELS[architecture]
    source: Any = stir(build()).eval()
    source.save_pretrained(tmp_path)  # in the older names, but for the ResNet's
    file = tmp_path / "model.safetensors"
    save_file(timms(load_file(file)), file, metadata={"format": "pt"})
    built = build_model(
        ModelSpec(
            architecture=architecture,
            config={**config, "dropout": 0.0},  # as the tiny model has it
            weights=WeightsSource(folder=tmp_path),
            labels="contiguous",
            input=InputSpec(shortest=64),
        ),
        PETS,
    )
    images = some_images(1)
    torch.testing.assert_close(built.model(images).logits, source(images).logits)
    torch.testing.assert_close(built.model(images).pred_boxes, source(images).pred_boxes)
    assert built.family.name == architecture
    assert built.messages == ()


@pytest.mark.parametrize("architecture", MODELS)
def test_a_stored_backbone_of_timm_becomes_transformers(architecture: str, tmp_path: Path) -> None:
    small = {key: value for key, value in MODELS[architecture][1].items() if key != "backbone_config"}
    stored = {"model_type": architecture, "backbone": "resnet18", "use_timm_backbone": True, **small}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    built = build_model(ModelSpec(weights=WeightsSource(folder=tmp_path)), PETS, random_weights=True)
    config = built.model.config.backbone_config
    assert (config.model_type, config.depths, config.layer_type) == ("resnet", [2, 2, 2, 2], "basic")
    several = architecture == "deformable_detr"
    assert config.out_features == (["stage2", "stage3", "stage4"] if several else ["stage4"])
    assert built.model(some_images(1)).logits.shape[-1] == 3 + (built.family.scores == "softmax")


def test_default_backbones() -> None:
    assert set(resnets()) == set(MODELS)
    assert set(resnets().values()) <= set(RESNETS)
    small = {key: value for key, value in DETR.items() if key != "backbone_config"}
    built = build_model(ModelSpec(architecture="table-transformer", config=small), PETS)
    assert built.model.config.backbone_config.depths == [2, 2, 2, 2]
    one_level = {**DEFORMABLE_DETR, "num_feature_levels": 1, "backbone": "resnet18"}
    del one_level["backbone_config"]
    built = build_model(ModelSpec(architecture="deformable_detr", config=one_level), PETS)
    assert built.model.config.backbone_config.out_features == ["stage4"]


@pytest.mark.parametrize("architecture", MODELS)
def test_what_trains_is_what_the_original_code_trains(architecture: str) -> None:
    config = {**MODELS[architecture][1], "position_embedding_type": "learned"}
    if architecture == "dab-detr":
        del config["position_embedding_type"]
    model = build_model(ModelSpec(architecture=architecture, config=config), PETS).model
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    backbone = {name: own for name, own in trains.items() if "embedder" in name or "encoder.stages" in name}
    assert len(backbone) == 12
    for name, own in backbone.items():
        assert own == any(f"stages.{stage}." in name for stage in (1, 2, 3)), name
    assert all(own for name, own in trains.items() if name not in backbone)


def test_separate_heads_that_transformers_would_tie(tmp_path: Path) -> None:
    """Refinement was published with a class head per layer; transformers ties them where they are made afresh."""
    source: Any = stir(tiny_deformable_detr(with_box_refine=True, tie_word_embeddings=False)).eval()
    source.model.decoder.bbox_embed = source.bbox_embed
    source.config.tie_word_embeddings = True
    state = {key: value.clone() for key, value in source.state_dict().items()}
    assert not torch.equal(state["class_embed.0.weight"], state["class_embed.2.weight"])
    source.config.save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    built = build_model(ModelSpec(weights=WeightsSource(folder=tmp_path)), PETS)
    images = some_images(1)
    torch.testing.assert_close(built.model(images).logits, source(images).logits)
    torch.testing.assert_close(built.model(images).pred_boxes, source(images).pred_boxes)
    for key, value in built.model.state_dict().items():
        torch.testing.assert_close(value, state[key])


def test_another_backbone_is_left_alone() -> None:
    swin = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "out_features": ["stage2"]}
    built = build_model(ModelSpec(architecture="detr", config={**DETR, "backbone_config": swin}), PETS)
    assert built.model.config.backbone_config.model_type == "swin"
    assert all(parameter.requires_grad for parameter in built.model.parameters())
