"""Every value of a stored configuration that the recipe's differs from, and that changes what is computed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.errors import ModelError
from qrecipe.models.families import architectures, prompted
from qrecipe.models.loading.build import build_model
from qrecipe.models.loading.configuration import chosen_config, stored_config
from qrecipe.models.loading.differences import NO_MATTER, differences
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import DETR, RT_DETR
from tests.tiny_detectors import TINY, some_images, stir, tiny_detr, tiny_rt_detr

PLACE = ModelPlace(error_at_model)
PETS = [(1, "dog"), (3, "cat"), (7, "bird")]


def stored_as(folder: Path, model: Any, **changes: Any) -> Path:
    """A folder as transformers saves it, with other values in its configuration."""
    model.config.id2label = {0: "dog", 1: "cat", 2: "bird"}
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def said(folder: Path, architecture: str, config: dict[str, Any]) -> list[str]:
    detectors = {architecture: ""}
    built = chosen_config(ModelSpec(architecture=architecture, config=config), detectors, PLACE)
    return list(differences(stored_config(folder, PLACE), built, PLACE))


@pytest.mark.parametrize("architecture", [name for name in architectures() if name not in prompted()])
def test_what_init_writes_differs_in_nothing(architecture: str, tmp_path: Path) -> None:
    from qrecipe.models.loading.stored import stored_architecture

    TINY[architecture]().save_pretrained(tmp_path)  # type: ignore[operator]
    found, config = stored_architecture(WeightsSource(folder=tmp_path), PLACE)
    assert said(tmp_path, found, config) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"activation_function": "silu"}, 'activation_function "silu", here "relu"'),
        ({"encoder_attention_heads": 4}, "encoder_attention_heads 4, here 2"),
        ({"dropout": 0.25}, "dropout 0.25, here 0.1"),
        ({"eos_coefficient": 0.5}, "eos_coefficient 0.5, here 0.1"),
        ({"position_embedding_type": "learned"}, 'position_embedding_type "learned", here "sine"'),
        ({"init_std": 0.5, "use_cache": True, "mask_loss_coefficient": 7, "num_labels": 9, "dtype": "float16"}, None),
    ],
)
def test_a_value_is_named_whether_or_not_it_changes_a_shape(
    changes: dict[str, Any], expected: str | None, tmp_path: Path
) -> None:
    found = said(stored_as(tmp_path, tiny_detr(dropout=0.1), **changes), "detr", DETR)
    assert found == ([] if expected is None else [expected])


def test_values_within_are_named_with_their_path(tmp_path: Path) -> None:
    model: Any = tiny_detr(dropout=0.1)
    backbone = {**model.config.to_dict()["backbone_config"], "hidden_act": "gelu"}
    assert said(stored_as(tmp_path, model, backbone_config=backbone), "detr", DETR) == [
        'backbone_config.hidden_act "gelu", here "relu"'
    ]
    other = {"model_type": "swin", "embed_dim": 8}
    assert said(stored_as(tmp_path, model, backbone_config=other), "detr", DETR) == [
        'backbone_config.model_type "swin", here "resnet"'
    ]
    assert said(stored_as(tmp_path, tiny_rt_detr()), "detr", DETR) == ["model_type rt_detr, here detr"]


def test_it_is_said_where_the_weights_fit(tmp_path: Path) -> None:
    source: Any = stir(tiny_rt_detr(decoder_activation_function="silu")).eval()
    stored_as(tmp_path, source)
    spec = ModelSpec(
        architecture="rt_detr",
        config=RT_DETR,
        weights=WeightsSource(folder=tmp_path),
        input=InputSpec(size=(64, 64)),
    )
    built = build_model(spec, PETS)
    (message,) = built.messages
    assert f"{tmp_path}/config.json differs from the model that the recipe builds" in message
    assert 'decoder_activation_function "silu", here "relu"' in message
    images = some_images(1, 64, 64)
    assert not torch.equal(built.model(images).logits, source(images).logits)
    right = dataclasses.replace(spec, config={**RT_DETR, "decoder_activation_function": "silu"})
    assert build_model(right, PETS).messages == ()


def test_it_is_the_remedy_where_they_do_not_fit(tmp_path: Path) -> None:
    stored_as(tmp_path, tiny_detr(dropout=0.1))
    spec = ModelSpec(architecture="detr", config={**DETR, "decoder_layers": 4}, weights=WeightsSource(folder=tmp_path))
    with pytest.raises(ModelError, match=r"missing: model\.decoder\.layers") as caught:
        build_model(spec, PETS)
    assert "decoder_layers 3, here 4" in str(caught.value.remedy)


def test_every_key_that_does_not_matter_is_a_field_of_some_configuration() -> None:
    from transformers import CONFIG_MAPPING

    backbones = ("resnet", "rt_detr_resnet", "hgnet_v2", "dinov3_vit", "dinov2", "lw_detr_vit", "rf_detr_dinov2")
    kinds = [*architectures(), *backbones, "swin", "bert"]
    fields = {field.name.removeprefix("_") for kind in kinds for field in dataclasses.fields(CONFIG_MAPPING[kind])}
    assert NO_MATTER.keys() - fields == {"num_labels"}  # which transformers takes, and keeps as id2label
    assert all(NO_MATTER.values())
