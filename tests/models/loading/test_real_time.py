"""RT-DETR, RT-DETRv2, D-FINE, LW-DETR and RF-DETR from folders and architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qrecipe.errors import ModelError
from qrecipe.models.loading.build import build_model
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import D_FINE, LW_DETR, RF_DETR, RT_DETR
from tests.tiny_detectors import (
    some_images,
    stir,
    tiny_d_fine,
    tiny_lw_detr,
    tiny_rf_detr,
    tiny_rt_detr,
    tiny_rt_detr_v2,
)

PETS = [(1, "dog"), (3, "cat"), (7, "bird")]
HEADS = {
    "rt_detr": ("model.decoder.class_embed.0", "model.enc_score_head", "model.denoising_class_embed"),
    "rt_detr_v2": ("model.decoder.class_embed.1", "model.enc_score_head", "model.denoising_class_embed"),
    "d_fine": ("model.decoder.class_embed.0", "model.enc_score_head", "model.denoising_class_embed"),
    "lw_detr": ("class_embed", "model.enc_out_class_embed.0", "model.enc_out_class_embed.1"),
    "rf_detr": ("class_embed", "model.enc_out_class_embed.0", "model.enc_out_class_embed.1"),
}
TINY: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "rt_detr": (tiny_rt_detr, RT_DETR),
    "rt_detr_v2": (tiny_rt_detr_v2, RT_DETR),
    "d_fine": (tiny_d_fine, D_FINE),
    "lw_detr": (tiny_lw_detr, LW_DETR),
    "rf_detr": (tiny_rf_detr, RF_DETR),
}


@pytest.mark.parametrize("name", TINY)
def test_a_folder_and_its_file_give_the_same_model(name: str, tmp_path: Path) -> None:
    build, config = TINY[name]
    source: Any = stir(build()).eval()
    source.save_pretrained(tmp_path)
    images = some_images(1, 64, 96)
    folder = ModelSpec(weights=WeightsSource(folder=tmp_path), input=InputSpec(size=(64, 96)), labels="contiguous")
    source_file = WeightsSource(file=tmp_path / "model.safetensors")
    file = ModelSpec(architecture=name, config=config, weights=source_file, labels="contiguous")
    for spec in (folder, file):
        built = build_model(spec, PETS)
        assert built.family.name == name
        assert built.label_map.category_to_class == {1: 0, 3: 1, 7: 2}
        assert built.messages == ()
        torch.testing.assert_close(built.model(images).logits, source(images).logits, rtol=0, atol=0)
        torch.testing.assert_close(built.model(images).pred_boxes, source(images).pred_boxes, rtol=0, atol=0)
    assert build_model(folder, PETS).input.size == (64, 96)


@pytest.mark.parametrize("name", TINY)
def test_class_heads_of_another_size_start_afresh_and_nothing_else(name: str, tmp_path: Path) -> None:
    source: Any = stir(TINY[name][0](labels=5))
    source.save_pretrained(tmp_path)
    built = build_model(ModelSpec(weights=WeightsSource(folder=tmp_path)), PETS)
    assert built.model.eval()(some_images(1, 64, 96)).logits.shape[-1] == 3
    for head in HEADS[name]:
        assert f"{head}.weight" in built.messages[1]
    ours, theirs = built.model.state_dict(), source.state_dict()
    kept = [key for key in theirs if ours[key].shape == theirs[key].shape]
    assert all(torch.equal(ours[key], theirs[key]) for key in kept)
    assert {key.rpartition(".")[0] for key in theirs if key not in kept} >= set(HEADS[name])
    assert not any("bbox" in key for key in theirs if key not in kept)


@pytest.mark.parametrize("name", TINY)
def test_weights_of_another_depth_are_refused(name: str, tmp_path: Path) -> None:
    build, config = TINY[name]
    source: Any = build()
    source.save_pretrained(tmp_path)
    deeper = {**config, "decoder_layers": 3}
    spec = ModelSpec(architecture=name, config=deeper, weights=WeightsSource(file=tmp_path / "model.safetensors"))
    with pytest.raises(ModelError, match=r"missing: .*_embed\.2|decoder\.layers\.2"):
        build_model(spec, PETS)
    with pytest.raises(ModelError, match="did you mean"):
        build_model(ModelSpec(architecture=name, config={**config, "decoder_layer": 3}), PETS)
    backbone = {**config["backbone_config"], "hidden_sise": 1}
    with pytest.raises(ModelError, match="hidden_sise"):
        build_model(ModelSpec(architecture=name, config={**config, "backbone_config": backbone}), PETS)
