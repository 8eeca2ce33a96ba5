"""A stored configuration, written out as a recipe's: built from that it is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrecipe.errors import ModelError
from qrecipe.models.families import architectures, prompted
from qrecipe.models.loading.build import build_model
from qrecipe.models.loading.stored import stored_architecture
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import ModelSpec, WeightsSource
from tests.tiny_detectors import TINY, tiny_detr

PETS = [(1, "dog"), (3, "cat"), (7, "bird")]
LABELS = ("id2label", "label2id", "architectures", "dtype", "_name_or_path", "transformers_version")


def plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in LABELS}


@pytest.mark.parametrize("architecture", [name for name in architectures() if name not in prompted()])
def test_every_architecture(architecture: str, tmp_path: Path) -> None:
    model: Any = TINY[architecture]()
    model.save_pretrained(tmp_path)
    found, config = stored_architecture(WeightsSource(folder=tmp_path), ModelPlace(error_at_model))
    assert found == architecture
    assert not {"id2label", "label2id", "num_labels", "transformers_version"} & config.keys()
    built: Any = build_model(ModelSpec(architecture=found, config=config), PETS).model
    own, again = plain(model.config.to_dict()), plain(built.config.to_dict())
    backbones = [plain(values.pop("backbone_config", None) or {}) for values in (own, again)]
    assert again == own
    assert backbones[1] == backbones[0]


@pytest.mark.parametrize("architecture", prompted())
def test_a_prompt_is_in_no_configuration(architecture: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"model_type": "{architecture}"}}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=f"a {architecture} reads a text prompt"):
        stored_architecture(WeightsSource(folder=tmp_path), ModelPlace(error_at_model))


def test_what_is_no_model(tmp_path: Path) -> None:
    place = ModelPlace(error_at_model)
    with pytest.raises(ModelError, match=r"no config\.json in "):
        stored_architecture(WeightsSource(folder=tmp_path), place)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"no model\.safetensors in "):
        stored_architecture(WeightsSource(folder=tmp_path), place)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="bert is no detector of transformers"):
        stored_architecture(WeightsSource(folder=tmp_path), place)


def test_the_weights_are_needed(tmp_path: Path) -> None:
    tiny_detr().save_pretrained(tmp_path)  # type: ignore[operator]
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds safetensors under another name"):
        stored_architecture(WeightsSource(folder=tmp_path), ModelPlace(error_at_model))
