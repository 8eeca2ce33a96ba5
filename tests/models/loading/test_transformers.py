"""Detectors of transformers from folders, the hub's cache and architectures, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.errors import ModelError
from qrecipe.models.loading.build import build_model
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from tests.tiny_configurations import DEIMV2, DETR
from tests.tiny_detectors import some_images, stir, tiny_deimv2, tiny_detr

PETS = [(1, "dog"), (3, "cat"), (7, "bird")]
DEMO = {"width": 8, "encoder_layers": 1, "decoder_layers": 2, "queries": 4, "heads": 2}


def saved(model: Any, folder: Path, names: list[str] | None = None) -> Path:
    """A folder as transformers writes it."""
    if names is not None:
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: index for index, name in enumerate(names)}
    model.save_pretrained(folder)
    return folder


def folder_spec(folder: Path, **changes: Any) -> ModelSpec:
    """The size is given, so that nothing is to be said of a preprocessor that is not there."""
    return ModelSpec(weights=WeightsSource(folder=folder), **{"input": InputSpec(shortest=64), **changes})


class TestFolder:
    def test_model_weights_and_names(self, tmp_path: Path) -> None:
        source = stir(tiny_detr())
        built = build_model(folder_spec(saved(source, tmp_path, ["cat", "bird", "dog"])), PETS)
        images = some_images(1)
        torch.testing.assert_close(built.model(images).logits, source.eval()(images).logits)
        assert not built.model.training
        assert built.family.name == "detr"
        assert built.label_map.category_to_class == {1: 2, 3: 0, 7: 1}
        assert built.messages == ()

    def test_deimv2_with_its_tied_heads(self, tmp_path: Path) -> None:
        source = stir(tiny_deimv2()).eval()
        built = build_model(folder_spec(saved(source, tmp_path), input=InputSpec(size=(96, 128))), PETS)
        images = some_images(1)
        torch.testing.assert_close(built.model(images).logits, source(images).logits)
        torch.testing.assert_close(built.model(images).pred_boxes, source(images).pred_boxes)
        file = WeightsSource(file=tmp_path / "model.safetensors")
        spec = ModelSpec(architecture="deimv2", config=DEIMV2, weights=file)
        torch.testing.assert_close(build_model(spec, PETS).model(images).pred_boxes, source(images).pred_boxes)
        assert built.input == InputSpec(size=(96, 128), mask=False)

    def test_a_head_with_ids_for_classes_survives(self, tmp_path: Path) -> None:
        built = build_model(folder_spec(saved(tiny_detr(labels=8), tmp_path)), PETS)
        assert built.label_map.classes == 8
        assert built.label_map.category_to_class == {1: 1, 3: 3, 7: 7}
        (said,) = built.messages
        assert "the classes of the head have no names, and are taken by category id" in said
        assert build_model(folder_spec(tmp_path, labels="category_id"), PETS).messages == ()

    def test_a_head_that_cannot_be_mapped_starts_afresh(self, tmp_path: Path) -> None:
        source = stir(tiny_detr(labels=5))
        built = build_model(folder_spec(saved(source, tmp_path)), PETS)
        assert built.model.class_labels_classifier.weight.shape == (4, 16)
        assert built.model.config.id2label == {0: "dog", 1: "cat", 2: "bird"}
        assert "head of 5 classes" in built.messages[0]
        assert "class_labels_classifier.weight (6, 16) -> (4, 16)" in built.messages[1]
        assert "class_labels_classifier.bias (6,) -> (4,)" in built.messages[1]
        assert "bbox_predictor" not in built.messages[1]
        torch.testing.assert_close(built.model.bbox_predictor.layers[0].weight, source.bbox_predictor.layers[0].weight)

    def test_every_head_of_deimv2_starts_afresh(self, tmp_path: Path) -> None:
        built = build_model(folder_spec(saved(tiny_deimv2(labels=5), tmp_path)), PETS)
        assert built.model(some_images(1)).logits.shape[-1] == 3
        for key in ("class_embed.0.weight", "model.enc_score_head.weight", "model.denoising_class_embed.weight"):
            assert key in built.messages[1]

    def test_random_weights_need_the_configuration_alone(self, tmp_path: Path) -> None:
        source = stir(tiny_detr(labels=8))
        saved(source, tmp_path)
        (tmp_path / "model.safetensors").unlink()
        built = build_model(folder_spec(tmp_path), PETS, random_weights=True)
        assert built.label_map.classes == 8
        assert not torch.equal(built.model.class_labels_classifier.weight, source.class_labels_classifier.weight)

    def test_config_over_the_stored_one(self, tmp_path: Path) -> None:
        saved(tiny_detr(), tmp_path)
        built = build_model(folder_spec(tmp_path, config={"dropout": 0.5}), PETS)
        assert built.model.config.dropout == 0.5
        with pytest.raises(ModelError, match='did you mean "dropout"'):
            build_model(folder_spec(tmp_path, config={"dropuot": 0.5}), PETS)

    def test_missing_files(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no config\.json"):
            build_model(folder_spec(tmp_path / "nowhere"), PETS)
        saved(tiny_detr(), tmp_path)
        (tmp_path / "model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"no model\.safetensors"):
            build_model(folder_spec(tmp_path), PETS)

    def test_remote_code_is_not_run(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(
            json.dumps({"model_type": "somebodys", "auto_map": {"AutoConfig": "evil.Config"}})
        )
        (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
        with pytest.raises(ModelError, match=r"config\.json cannot be read"):
            build_model(folder_spec(tmp_path), PETS, random_weights=True)
        assert not (tmp_path / "ran").exists()

    def test_another_detector_of_transformers(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "pp_doclayout_v2"}))
        with pytest.raises(ModelError, match=r"model\.family: generic"):
            build_model(folder_spec(tmp_path), PETS, random_weights=True)

    def test_a_backbone_of_timm(self, tmp_path: Path) -> None:
        for stored in ({"backbone": "resnet50d"}, {"backbone": "resnet50", "dilation": True}):
            (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr", **stored}))
            with pytest.raises(ModelError, match="needs timm") as caught:
                build_model(folder_spec(tmp_path), PETS, random_weights=True)
            assert "resnet101" in str(caught.value)

    def test_no_detector(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(ModelError, match="bert is no detector"):
            build_model(folder_spec(tmp_path), PETS, random_weights=True)

    def test_weights_that_do_not_fit(self, tmp_path: Path) -> None:
        saved(tiny_detr(), tmp_path)
        spec = folder_spec(tmp_path, architecture="detr", config={**DETR, "decoder_layers": 4})
        with pytest.raises(ModelError, match=r"missing: model\.decoder\.layers\.3.*and .* more"):
            build_model(spec, PETS)
        with pytest.raises(ModelError, match="of another shape: "):
            build_model(folder_spec(tmp_path, architecture="detr", config={**DETR, "num_queries": 7}), PETS)

    def test_nothing_is_printed(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        saved(tiny_detr(labels=5), tmp_path)
        capfd.readouterr()
        build_model(folder_spec(tmp_path), PETS)
        assert capfd.readouterr() == ("", "")


class TestHub:
    def test_offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        spec = ModelSpec(
            architecture="detr", config=DETR, weights=WeightsSource(hub="facebook/detr-resnet-50", revision="no_timm")
        )
        with pytest.raises(ModelError) as caught:
            build_model(spec, PETS)
        message = str(caught.value)
        for part in (
            "facebook/detr-resnet-50 (revision no_timm)",
            "config.json and model.safetensors",
            str(tmp_path),
            "hf download facebook/detr-resnet-50 --revision no_timm",
            "model.weights.folder",
        ):
            assert part in message
        assert caught.value.where == "model.weights.hub"
        assert "\n" not in message
        # The architecture stands in the recipe: without weights nothing is fetched.
        assert build_model(spec, PETS, random_weights=True).family.name == "detr"

    def test_from_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = saved(stir(tiny_detr()), tmp_path, ["dog", "cat", "bird"])
        asked: dict[str, Any] = {}

        def snapshot(hub: str, revision: str | None, allow_patterns: list[str]) -> str:
            asked.update(hub=hub, revision=revision, files=allow_patterns)
            return str(folder)

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
        built = build_model(ModelSpec(weights=WeightsSource(hub="me/mine", revision="v1")), PETS)
        assert (asked["hub"], asked["revision"]) == ("me/mine", "v1")
        assert not any(name.endswith((".bin", ".py")) for name in asked["files"])
        assert built.label_map.category_to_class == {1: 0, 3: 1, 7: 2}

    def test_an_id_that_is_none(self) -> None:
        with pytest.raises(ModelError, match="a/b/c"):
            build_model(ModelSpec(weights=WeightsSource(hub="a/b/c")), PETS)


class TestArchitecture:
    def test_head_is_made_for_the_data(self) -> None:
        built = build_model(ModelSpec(architecture="detr", config=DETR), PETS)
        assert built.label_map.category_to_class == {1: 0, 3: 1, 7: 2}
        assert built.model(some_images(1)).logits.shape == (1, 6, 4)
        assert built.messages == ()
        by_id = build_model(ModelSpec(architecture="detr", config=DETR, labels="category_id"), PETS)
        assert by_id.label_map.category_to_class == {1: 1, 3: 3, 7: 7}
        assert by_id.label_map.classes == 8

    def test_head_of_a_chosen_size(self) -> None:
        built = build_model(ModelSpec(architecture="detr", config={**DETR, "num_labels": 8}), PETS)
        assert built.label_map.category_to_class == {1: 1, 3: 3, 7: 7}
        with pytest.raises(ModelError, match="a head of 5 classes") as caught:
            build_model(ModelSpec(architecture="detr", config={**DETR, "num_labels": 5}), PETS)
        assert caught.value.where == "model.config.num_labels"

    def test_backbone_by_name_is_not_timms(self) -> None:
        small = {key: value for key, value in DETR.items() if key != "backbone_config"}
        built = build_model(ModelSpec(architecture="detr", config={**small, "backbone": "resnet101"}), PETS)
        assert built.model.config.backbone_config.model_type == "resnet"
        assert built.model.config.backbone_config.depths == [3, 4, 23, 3]
        with pytest.raises(ModelError, match='no backbone "resnet51"'):
            build_model(ModelSpec(architecture="detr", config={**small, "backbone": "resnet51"}), PETS)
        with pytest.raises(ModelError, match="dilation needs a backbone of timm"):
            build_model(ModelSpec(architecture="detr", config={**small, "dilation": True}), PETS)

    @pytest.mark.parametrize(
        ("config", "where", "message"),
        [
            ({"queries": 100}, "model.config.queries", 'did you mean "num_queries"'),
            ({"d_model": "wide"}, "model.config", "expected int"),
            (
                {"backbone_config": {"model_type": "resnet", "depth": [1]}},
                "model.config.backbone_config.depth",
                "depths",
            ),
            ({"backbone_config": {"model_type": "vgg"}}, "model.config.backbone_config", 'no model_type "vgg"'),
        ],
    )
    def test_wrong_keys(self, config: dict[str, Any], where: str, message: str) -> None:
        with pytest.raises(ModelError) as caught:
            build_model(ModelSpec(architecture="detr", config={**DETR, **config}), PETS)
        assert caught.value.where == where
        assert message in str(caught.value)

    def test_unknown_architectures(self) -> None:
        with pytest.raises(ModelError, match='did you mean "detr"'):
            build_model(ModelSpec(architecture="dert"), PETS)
        with pytest.raises(ModelError, match='did you mean "table-transformer"'):
            build_model(ModelSpec(architecture="table_transformer"), PETS)
        with pytest.raises(ModelError, match="pp_doclayout_v2"):
            build_model(ModelSpec(architecture="pp_doclayout_v2"), PETS)
        with pytest.raises(ModelError, match="nothing says what to build"):
            build_model(ModelSpec(), PETS)
        with pytest.raises(ModelError, match='did you mean "detr"'):
            build_model(ModelSpec(architecture="detr", family="dert"), PETS)

    def test_weights_from_a_folder_keep_its_names(self, tmp_path: Path) -> None:
        source = stir(tiny_detr())
        saved(source, tmp_path, ["bird", "cat", "dog"])
        built = build_model(folder_spec(tmp_path, architecture="detr", config=DETR), PETS)
        assert built.label_map.category_to_class == {1: 2, 3: 1, 7: 0}
        torch.testing.assert_close(built.model.class_labels_classifier.weight, source.class_labels_classifier.weight)

    def test_a_known_mapping_sizes_the_head_without_its_weights(self, tmp_path: Path) -> None:
        saved(tiny_detr(labels=8), tmp_path)
        spec = folder_spec(tmp_path, architecture="detr", config=DETR)
        built = build_model(spec, PETS)
        again = build_model(spec, PETS, random_weights=True, label_map=built.label_map)
        assert again.label_map == built.label_map
        assert again.label_map.classes == again.family.classes == 8
        again.model.load_state_dict(built.model.state_dict())

    def test_weights_from_a_file(self, tmp_path: Path) -> None:
        source = stir(tiny_detr())
        saved(source, tmp_path)
        spec = ModelSpec(architecture="detr", config=DETR, weights=WeightsSource(file=tmp_path / "model.safetensors"))
        images = some_images(1)
        torch.testing.assert_close(build_model(spec, PETS).model(images).logits, source.eval()(images).logits)

    def test_where_the_recipe_says(self) -> None:
        from qrecipe.errors import RecipeError

        def error(path: tuple[str | int, ...], what: str, remedy: str | None = None) -> RecipeError:
            return RecipeError(what, where=f"r.yaml:3:5: {'/'.join(map(str, path))}", remedy=remedy)

        with pytest.raises(ModelError) as caught:
            build_model(ModelSpec(architecture="detr", config={"queries": 3}), PETS, error=error)
        assert caught.value.where == "r.yaml:3:5: config/queries"
