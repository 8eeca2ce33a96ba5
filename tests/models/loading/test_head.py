"""The stored head: its size is that of its weights, and what is said of it is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from qrecipe.errors import ModelError
from qrecipe.models.families import architectures, prompted
from qrecipe.models.loading.build import Built, build_model
from qrecipe.models.loading.configuration import stored_config
from qrecipe.models.loading.head import stored_classes
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import InputSpec, ModelSpec, WeightsSource
from tests import tiny_detectors
from tests.tiny_detectors import stir, tiny_detr

NAMES = ["circle", "square", "triangle"]
SHAPES = list(enumerate(NAMES, start=1))
PLACE = ModelPlace(error_at_model)


@pytest.mark.parametrize("architecture", [name for name in architectures() if name not in prompted()])
def test_the_weights_of_every_architecture_tell_their_classes(architecture: str) -> None:
    build: Any = tiny_detectors.TINY[architecture]
    for count in (1, 4):
        model = build(labels=count)
        assert stored_classes(type(model), build(labels=7).config, model.state_dict()) == count


def test_weights_that_do_not_tell() -> None:
    model: Any = tiny_detr()
    state = dict(model.state_dict())
    assert stored_classes(type(model), model.config, {}) is None
    state["class_labels_classifier.bias"] = torch.zeros(9)  # against the weight's three and no-object
    assert stored_classes(type(model), model.config, state) is None


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with three classes, named."""
    folder = tmp_path_factory.mktemp("stored")
    model: Any = stir(tiny_detr())
    model.config.id2label = dict(enumerate(NAMES))
    model.save_pretrained(folder)
    return folder


def with_labels(stored: Path, folder: Path, value: Any) -> Path:
    """The same folder with another ``id2label``."""
    config = json.loads((stored / "config.json").read_text()) | {"id2label": value}
    (folder / "config.json").write_text(json.dumps(config))
    if not (folder / "model.safetensors").exists():
        (folder / "model.safetensors").symlink_to(stored / "model.safetensors")
    return folder


def built_of(folder: Path, categories: list[tuple[int, str]] = SHAPES, **changes: Any) -> Built:
    spec = ModelSpec(weights=WeightsSource(folder=folder), input=InputSpec(shortest=64), **changes)
    return build_model(spec, categories)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (dict(enumerate(NAMES)), None),
        (NAMES, None),
        ({"0": 1, "1": 2, "2": 3}, "no category is named as a class of the head: classes are taken in the order"),
        ({"0": "circle"}, "1 of 3 categories are named as classes of the head; the others are taken in the order"),
        (None, "the classes of the head have no names, and are taken in the order"),
        ({}, "the classes of the head have no names, and are taken in the order"),
        ({"2": "triangle"}, "1 of 3 categories are named"),
    ],
)
def test_every_form_of_id2label_keeps_the_head(stored: Path, tmp_path: Path, value: Any, said: str | None) -> None:
    built = built_of(with_labels(stored, tmp_path, value))
    assert built.label_map.category_to_class == {1: 0, 2: 1, 3: 2}
    weights = load_file(stored / "model.safetensors")
    assert torch.equal(built.model.class_labels_classifier.weight, weights["class_labels_classifier.weight"])
    assert not built.fresh
    if said is None:
        assert built.messages == ()
    else:
        (message,) = built.messages
        assert said in message
        assert "afresh" not in message


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("circle", "id2label is 'circle', neither a mapping"),
        ({"a": "circle"}, "id2label has the key 'a'"),
        ({"0": ["circle"]}, "id2label names class 0 ['circle'], which is no text"),
        ({"1": "circle", "2": "square", "3": "triangle"}, "names class 3, but the weights' head has classes 0 to 2"),
    ],
)
def test_what_names_no_class_is_an_error_with_its_file(stored: Path, tmp_path: Path, value: Any, what: str) -> None:
    with pytest.raises(ModelError) as caught:
        built_of(with_labels(stored, tmp_path, value))
    assert what in caught.value.what
    assert str(tmp_path / "config.json") in caught.value.what
    assert caught.value.where == "model.weights"


def test_labels_by_order_pass_over_names(stored: Path, tmp_path: Path) -> None:
    shifted = with_labels(stored, tmp_path, {"1": "circle", "2": "square", "3": "triangle"})
    assert built_of(shifted, labels="contiguous").label_map.category_to_class == {1: 0, 2: 1, 3: 2}


def test_permuted_names_are_an_error_at_labels(stored: Path) -> None:
    with pytest.raises(ModelError, match=r'"square" \(id 3\) is class 1 "square" by name') as caught:
        built_of(stored, [(1, "triangles"), (2, "circle"), (3, "square")])
    assert caught.value.where == "model.labels"


def test_afresh_is_said_of_the_size_of_the_weights_and_with_the_names_that_lack(stored: Path, tmp_path: Path) -> None:
    built = built_of(with_labels(stored, tmp_path, {"0": "circle"}), [(1, "circle"), (5, "circles")])
    assert built.fresh
    assert "the stored head of 3 classes cannot be mapped to the data's 2 categories" in built.messages[0]
    assert "a head of 2 classes starts afresh (1 of 2 categories" in built.messages[0]
    assert '"circles" (did you mean "circle"?)' in built.messages[0]
    assert "re-initialised" in built.messages[1]


def test_a_head_that_the_recipe_sizes(stored: Path) -> None:
    built = built_of(stored, config={"num_labels": 4}, labels="contiguous")
    assert built.fresh
    assert len(built.messages) == 1
    named = built_of(stored, config={"id2label": ["square", "circle", "triangle"]})
    assert named.label_map.category_to_class == {1: 1, 2: 0, 3: 2}
    for value in ("square", {"1": "square"}, [["square"]]):
        with pytest.raises(ModelError) as caught:
            built_of(stored, config={"id2label": value})
        assert caught.value.where == "model.config.id2label"


def test_weights_of_a_file_have_no_names(stored: Path) -> None:
    spec = ModelSpec(
        architecture="detr", config=tiny_detectors.DETR, weights=WeightsSource(file=stored / "model.safetensors")
    )
    (said,) = build_model(spec, SHAPES).messages
    assert "the classes of the head have no names" in said


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_refused(stored: Path, tmp_path: Path, kind: torch.dtype) -> None:
    folder = with_labels(stored, tmp_path, NAMES)
    state = load_file(stored / "model.safetensors")
    state["class_labels_classifier.weight"] = state["class_labels_classifier.weight"].to(kind)
    (folder / "model.safetensors").unlink()
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match="the weights are quantized already: 1 tensors") as caught:
        built_of(folder)
    assert "class_labels_classifier.weight" in caught.value.what


def test_a_quantized_configuration_is_refused(tmp_path: Path) -> None:
    values = {"model_type": "detr", "quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="its weights are quantized already"):
        stored_config(tmp_path, PLACE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = ("id2label", "label2id", "num_labels", "model_type", "d_model", "backbone_config", "dtype", "architectures")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), JSON)
def test_any_value_of_a_config_is_read_or_one_message(stored: Path, tmp_path: Path, key: str, value: Any) -> None:
    config = json.loads((stored / "config.json").read_text()) | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    try:
        stored_config(tmp_path, PLACE)
    except ModelError as error:
        assert str(tmp_path / "config.json") in error.what  # noqa: PT017
