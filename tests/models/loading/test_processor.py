"""How images were prepared for a stored model: held against transformers' own processors."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from qrecipe.data.transforms import Sample, fit, to_tensor
from qrecipe.errors import ModelError
from qrecipe.models.families.base import IMAGENET_MEAN, IMAGENET_STD, merged_input
from qrecipe.models.loading.processor import BY_SHORTEST, prepared, stored_input
from qrecipe.models.model_place import ModelPlace, error_at_model
from qrecipe.recipe.definition import InputSpec

PLACE = ModelPlace(error_at_model)
SHORT = InputSpec(shortest=800, longest=1333, mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=True)
SQUARE = InputSpec(size=(640, 640), mask=False)
MODULES = {
    "Detr": "detr",
    "ConditionalDetr": "conditional_detr",
    "DeformableDetr": "deformable_detr",
    "GroundingDino": "grounding_dino",
    "Yolos": "yolos",
    "RTDetr": "rt_detr",
}


def folder_with(folder: Path, values: Any, name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(values))
    return folder


def input_of(folder: Path, default: InputSpec = SQUARE, spec: InputSpec | None = None) -> tuple[InputSpec, str]:
    """The input that is used, and all that is said of it."""
    chosen, said = prepared(spec or InputSpec(), default, stored_input(folder, default, PLACE), folder)
    return chosen, "\n".join(said)


def theirs(kind: str, values: dict[str, Any], image: Image.Image) -> torch.Tensor:
    """The pixels that transformers makes of an image."""
    module = importlib.import_module(f"transformers.models.{MODULES[kind]}.image_processing_pil_{MODULES[kind]}")
    processor = getattr(module, f"{kind}ImageProcessorPil")(**values)
    pixels: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
    return pixels


def ours(spec: InputSpec, image: Image.Image) -> torch.Tensor:
    sample = fit(Sample(image, np.zeros((0, 4)), np.zeros(0, dtype=np.int64)), spec)
    return to_tensor(sample.image, spec)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


SIZES: list[Any] = [
    {"height": 48, "width": 64},
    {"shortest_edge": 40, "longest_edge": 300},
    {"max_height": 50, "max_width": 64},
]
VALUES: list[dict[str, Any]] = [
    {"do_normalize": False},
    {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]},
    {"do_normalize": True, "image_mean": 0.5, "image_std": 0.25},
    {"do_normalize": False, "do_rescale": False},
    {"do_normalize": True, "do_rescale": False, "image_mean": [120, 110, 100], "image_std": [50, 60, 70]},
    {"do_normalize": True, "rescale_factor": 1 / 128, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
]


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: next(iter(size)))
def test_images_come_as_from_transformers(kind: str, size: dict[str, int], tmp_path: Path) -> None:
    image = noise(90, 61)
    default = SHORT if kind in BY_SHORTEST else SQUARE
    for values in VALUES:
        config = {"image_processor_type": f"{kind}ImageProcessor", "do_resize": True, "size": size, **values}
        spec, _ = input_of(folder_with(tmp_path, config), default)
        own, expected = (
            ours(spec, image),
            theirs(kind, {key: config[key] for key in config if key != "image_processor_type"}, image),
        )
        torch.testing.assert_close(own, expected.to(own.dtype), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", BY_SHORTEST)
@pytest.mark.parametrize("given", [{"size": 48}, {"size": 48, "max_size": 60}])
def test_a_plain_number_is_the_shorter_side(kind: str, given: dict[str, int], tmp_path: Path) -> None:
    image = noise(70, 61)
    spec, _ = input_of(folder_with(tmp_path, {"feature_extractor_type": f"{kind}FeatureExtractor", **given}), SHORT)
    assert (spec.shortest, spec.longest) == (48, given.get("max_size", 1333))
    torch.testing.assert_close(ours(spec, image), theirs(kind, given, image).float(), rtol=1e-4, atol=1e-4)


def test_other_plain_sizes(tmp_path: Path) -> None:
    config = {"image_processor_type": "RTDetrImageProcessor", "size": 96}
    assert input_of(folder_with(tmp_path, config))[0].size == (96, 96)
    assert input_of(folder_with(tmp_path, {**config, "size": [64, 96]}))[0].size == (64, 96)
    assert input_of(folder_with(tmp_path, {"size": 96}), SHORT)[0].shortest == 96
    assert input_of(folder_with(tmp_path, {"size": {"height": 64, "width": 96, "shortest_edge": None}}))[0].size == (
        64,
        96,
    )
    assert input_of(folder_with(tmp_path, {"size": {"shortest_edge": 64}}), SHORT)[0].shortest == 64


def test_nothing_stored_is_said_unless_the_recipe_says_it(tmp_path: Path) -> None:
    spec, said = input_of(tmp_path)
    assert spec == SQUARE
    assert f"no preprocessor_config.json in {tmp_path}" in said
    assert "640x640 pixels, values in 0..1" in said
    assert input_of(tmp_path, spec=InputSpec(size=(64, 64)))[1] == ""
    assert prepared(InputSpec(), SQUARE, None, None) == (SQUARE, ())


def test_what_is_stored_is_used_and_said_where_it_is_not_the_default(tmp_path: Path) -> None:
    folder_with(tmp_path, {"size": {"height": 64, "width": 64}, "do_normalize": True})
    spec, said = input_of(tmp_path)
    assert spec == InputSpec(size=(64, 64), mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=False)
    assert "preprocessor_config.json says: 64x64 pixels, mean [0.485, 0.456, 0.406], std" in said
    folder_with(tmp_path, {"size": {"height": 640, "width": 640}, "do_normalize": False})
    assert input_of(tmp_path) == (SQUARE, "")


def test_values_that_are_not_normalised_take_the_familys_away(tmp_path: Path) -> None:
    spec, said = input_of(folder_with(tmp_path, {"do_normalize": False}), SHORT)
    assert (spec.mean, spec.std) == ((0, 0, 0), (1, 1, 1))
    assert torch.equal(to_tensor(noise(3, 3), spec), to_tensor(noise(3, 3), SQUARE))
    assert "values in 0..1" in said


def test_the_recipe_decides_and_what_differs_is_said_once(tmp_path: Path) -> None:
    folder_with(
        tmp_path, {"size": {"height": 64, "width": 64}, "do_normalize": True, "image_mean": 0.5, "image_std": 0.5}
    )
    spec, said = input_of(tmp_path, spec=InputSpec(size=(96, 96)))
    assert spec == InputSpec(size=(96, 96), mean=(0.5,) * 3, std=(0.5,) * 3, mask=False)
    assert "the recipe's input is not that of" in said
    assert "96x96 pixels in place of 64x64 pixels" in said
    assert said.count("64x64") == 1
    assert "is not that" not in input_of(tmp_path, spec=InputSpec(size=(64, 64)))[1]
    _, said = input_of(tmp_path, spec=InputSpec(mean=(0, 0, 0), std=(1, 1, 1)))
    assert "values in 0..1 in place of mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5]" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"do_resize": False}, "do_resize is false"),
        ({"size": {"longest_edge": 640}}, "size {'longest_edge': 640} is none that qrecipe knows"),
        ({"size": {"min_pixels": 4, "max_pixels": 9}}, "is none that qrecipe knows"),
        ({"size": "large"}, "size large is none"),
        ({"size": [64]}, "size [64] is none"),
        ({"size": -3}, "size -3 is none"),
        ({"do_center_crop": True, "crop_size": 224}, "do_center_crop True"),
        ({"do_pad": True, "pad_size": {"height": 640, "width": 640}}, "pad_size {'height': 640, 'width': 640}"),
        ({"size_divisor": 32}, "size_divisor 32"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order True"),
        ({"resample": 3}, "resample 3, where qrecipe resizes bilinearly"),
        ({"do_normalize": True, "image_mean": [0.5]}, "image_mean [0.5] are no values of three channels"),
        ({"do_normalize": True, "image_std": [1, 1, 0]}, "are no values of three channels|out of range"),
        ({"rescale_factor": -1}, "rescale_factor -1"),
        ({"image_processor_type": "RfDetrImageProcessor"}, "resizing without antialiasing"),
        ({"auto_map": {"AutoImageProcessor": "own.Processor"}}, "auto_map"),
    ],
)
def test_what_no_recipe_can_say_is_said(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    spec, text = input_of(folder_with(tmp_path, values))
    assert "is not all carried out" in text
    assert any(part in text for part in said.split("|"))
    assert spec.size == (640, 640)


def test_keys_that_change_nothing_are_not_said(tmp_path: Path) -> None:
    config = {
        "image_processor_type": "RTDetrImageProcessorFast",
        "format": "coco_detection",
        "do_convert_annotations": True,
        "do_convert_rgb": None,
        "do_pad": True,
        "pad_size": None,
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
        "default_to_square": False,
        "return_segmentation_masks": False,
        "do_center_crop": False,
        "crop_size": 7,
        "size": {"height": 640, "width": 640},
        "do_normalize": False,
        "data_format": "channels_first",
    }
    assert input_of(folder_with(tmp_path, config)) == (SQUARE, "")


def test_a_processor_within_a_processor_comes_first(tmp_path: Path) -> None:
    folder_with(tmp_path, {"size": {"height": 64, "width": 64}})
    folder_with(tmp_path, {"processor_class": "GroundingDinoProcessor"}, "processor_config.json")
    assert input_of(tmp_path)[0].size == (64, 64)
    folder_with(tmp_path, {"image_processor": {"size": {"height": 96, "width": 96}}}, "processor_config.json")
    spec, said = input_of(tmp_path)
    assert spec.size == (96, 96)
    assert "/processor_config.json says" in said


@pytest.mark.parametrize("text", ["", "{", "[]", "version https://git-lfs.github.com/spec/v1\n", "<html>"])
def test_a_file_that_cannot_be_read_is_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        stored_input(tmp_path, SQUARE, PLACE)
    assert str(tmp_path / "preprocessor_config.json") in caught.value.what


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["height", "width", "x"]), inner),
    max_leaves=4,
)
KEYS = ("size", "max_size", "do_resize", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
        "resample", "do_pad", "pad_size", "image_processor_type", "crop_size")  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4), st.sampled_from([SHORT, SQUARE]))
def test_any_values_make_an_input_that_images_can_be_prepared_for(
    tmp_path: Path, values: dict[str, Any], default: InputSpec
) -> None:
    spec, _ = input_of(folder_with(tmp_path, values), default)
    assert sum(side is not None for side in (spec.size, spec.shortest, spec.within)) == 1
    assert all(value > 0 for value in spec.std or (1,))


def test_one_form_of_a_size_replaces_the_others() -> None:
    within = merged_input(SHORT, InputSpec(within=(64, 96)))
    assert (within.shortest, within.longest, within.size, within.within) == (None, None, None, (64, 96))
    assert merged_input(within, InputSpec(size=(8, 8))).within is None
    assert merged_input(within, InputSpec(shortest=7)).within is None
    assert merged_input(merged_input(SHORT, InputSpec(multiple=16)), InputSpec(shortest=7)).multiple == 16
    assert merged_input(merged_input(SHORT, InputSpec(multiple=16)), InputSpec(size=(8, 8))).multiple is None
