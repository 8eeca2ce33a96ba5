"""How images were prepared for a stored model: transformers' ``preprocessor_config.json`` as a recipe's ``input``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...recipe.definition import InputSpec
from ...recipe.input_words import size_in_words, values_in_words
from ..families.base import IMAGENET_MEAN, IMAGENET_STD, merged_input
from ..model_place import ModelPlace
from .file_kinds import read_mapping

PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
NESTED = "image_processor"
"""Where transformers 5 writes an image processor that belongs to a processor of text and images."""
BY_SHORTEST = ("Detr", "ConditionalDetr", "DeformableDetr", "GroundingDino", "Yolos")
"""Kinds of processors that take a plain number for the shorter side; to others it is a square's."""
LONGEST = 1333
"""What these bound the longer side with where nothing says so."""
MULTIPLES: dict[str, int] = {"Yolos": 16}
"""Kinds of processors that cut both sides to multiples of so many pixels, if they keep the aspect."""
SHARP: tuple[str, ...] = ("RfDetr",)
"""Kinds of processors that resize without antialiasing."""
BILINEAR = (2, "bilinear")
READ = {"size", "max_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"}
ELSEWHERE = {
    # What it is called, and by whom it was written.
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "_processor_class",
    "transformers_version",
    "model_input_names",
    "backend",
    # Annotations and masks: of training, which has its own way.
    "format",
    "do_convert_annotations",
    "return_segmentation_masks",
    "masks_path",
    # How arrays are handed over.
    "do_convert_rgb",
    "data_format",
    "input_data_format",
    "return_tensors",
    "device",
    "disable_grouping",
    "num_channels",
    "_valid_processor_keys",
    # Read with the size; without a crop or fixed padding they change nothing.
    "default_to_square",
    "crop_size",
    "pad_and_return_pixel_mask",
    "do_pad",
}
"""Keys that change nothing about a single image as the model sees it."""


@dataclass(frozen=True)
class Stored:
    """file: where it stands. values: what a recipe would say; None where it says nothing.
    lost_size, lost: what it asks for of the size, and else, that no recipe can say, in words."""

    file: Path
    values: InputSpec
    lost_size: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def stored_input(folder: Path, default: InputSpec, place: ModelPlace) -> Stored | None:
    """Read how images are prepared for the model in a folder; None where nothing there says so.

    The nested configuration comes first, as in transformers. Pixels that are rescaled by another factor than 1/255, or
    not at all, come to other values of mean and std.

    Args:
        default: the family's input: what a plain number means, and whether values are normalised if nothing says so.

    Raises:
        ModelError: a file that is there cannot be read.
    """
    path = ("weights",)
    for name in (PROCESSOR, PREPROCESSOR):
        file = folder / name
        if not file.is_file():
            continue
        data = read_mapping(file, path, place)
        if name == PROCESSOR:
            nested = data.get(NESTED)
            if not isinstance(nested, dict):
                continue
            data = nested
        size, lost_size = _size(data, default)
        values, lost_values = _values(data, default)
        return Stored(file, InputSpec(**size, **values), tuple(lost_size), (*lost_values, *_others(data)))
    return None


def prepared(
    spec: InputSpec, default: InputSpec, stored: Stored | None, folder: Path | None
) -> tuple[InputSpec, tuple[str, ...]]:
    """How images are prepared: the recipe's values over the stored ones over the family's; and what is to be said.

    Args:
        folder: that of a model which transformers would prepare images for, where there is one.
    """
    sized = spec.size is not None or spec.within is not None or spec.shortest is not None
    if stored is None:
        chosen = merged_input(default, spec)
        if folder is None or sized:
            return chosen, ()
        shown = f"{size_in_words(chosen)}, {values_in_words(chosen)}"
        return chosen, (f"no {PREPROCESSOR} in {folder}: images come as this kind of model has them, {shown}",)
    base = merged_input(default, stored.values)
    chosen = merged_input(base, spec)
    used, differing = [], []
    for words in (size_in_words, values_in_words):
        own, theirs = words(chosen), words(base)
        if own != theirs:
            differing.append(f"{own} in place of {theirs}")
        elif theirs != words(default):
            used.append(theirs)
    lost = [*(() if sized else stored.lost_size), *stored.lost]
    said = {
        f"images are prepared as {stored.file} says: {', '.join(used)}": used,
        f"the recipe's input is not that of {stored.file}: {'; '.join(differing)}": differing,
        f"what {stored.file} says of images is not all carried out: {'; '.join(lost)}": lost,
    }
    return chosen, tuple(text for text, about in said.items() if about)


def _size(data: Mapping[str, Any], default: InputSpec) -> tuple[dict[str, Any], list[str]]:
    """``size``, ``shortest`` and ``longest``, or ``within``; and what of it is not understood."""
    if data.get("do_resize") is False:
        return {}, ["do_resize is false, and qrecipe resizes every image"]
    given, bound, kind = data.get("size"), _pixels(data.get("max_size")), _kind(data)
    multiple = next((value for name, value in MULTIPLES.items() if name == kind), None)
    kept = {} if multiple is None else {"multiple": multiple}
    if given is None:
        return kept if default.size is None else {}, []
    if isinstance(given, Mapping):
        own = {key: value for key, value in given.items() if value is not None}
        pixels = {key: _pixels(value) for key, value in own.items()}
        if None not in pixels.values():
            if pixels.keys() == {"height", "width"}:
                return {"size": (pixels["height"], pixels["width"])}, []
            if pixels.keys() == {"max_height", "max_width"}:
                return {"within": (pixels["max_height"], pixels["max_width"])}, []
            if pixels.keys() in ({"shortest_edge"}, {"shortest_edge", "longest_edge"}):
                longest = pixels.get("longest_edge") or bound
                return {"shortest": pixels["shortest_edge"], "longest": longest, **kept}, []
    elif (side := _pixels(given)) is not None:
        if bound is not None or kind in BY_SHORTEST or (kind is None and default.size is None):
            return {"shortest": side, "longest": bound or LONGEST, **kept}, []
        return {"size": (side, side)}, []
    elif isinstance(given, list) and len(given) == 2 and None not in (both := [_pixels(value) for value in given]):
        return {"size": (both[0], both[1])}, []
    return {}, [f"size {given} is none that qrecipe knows"]


def _values(data: Mapping[str, Any], default: InputSpec) -> tuple[dict[str, Any], list[str]]:
    """``mean`` and ``std`` of values in 0..1; and what cannot be said so."""
    rescaled = data.get("do_rescale")
    factor = data.get("rescale_factor") if rescaled is not False else 1
    factor = 1 / 255 if factor is None else factor
    normalised = data.get("do_normalize")
    if normalised is None:
        normalised = default.mean is not None
    mean, std = _three(data.get("image_mean"), IMAGENET_MEAN), _three(data.get("image_std"), IMAGENET_STD)
    if not normalised:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not factor > 0 or mean is None or std is None:
        shown = {key: data[key] for key in ("rescale_factor", "image_mean", "image_std") if key in data}
        return {}, [", ".join(f"{key} {value}" for key, value in shown.items()) + " are no values of three channels"]
    scale = 255 * factor  # of a value in 0..1 to what mean and std are of
    if math.isclose(scale, 1, rel_tol=1e-6):
        scale = 1.0
    mean, std = (tuple(value / scale for value in three) for three in (mean, std))
    if default.mean is None and not any(mean) and set(std) == {1.0}:
        return {}, []
    if not all(0 <= value <= 1 for value in mean) or not all(0 < value <= 1 for value in std):
        return {}, [f"mean {mean} and std {std} of values in 0..1 are out of range"]
    return {"mean": mean, "std": std}, []


def _others(data: Mapping[str, Any]) -> Iterator[str]:
    """Whatever else it asks for, but for keys that change nothing."""
    for key, value in data.items():
        if key == "resample":
            if value is not None and value not in BILINEAR:
                yield f"resample {value}, where qrecipe resizes bilinearly"
        elif key == "pad_size":
            if value is not None and data.get("do_pad"):
                yield f"pad_size {value}"
        elif key not in READ | ELSEWHERE | {"do_resize"} and value not in (None, False):
            yield f"{key} {value}"
    if _kind(data) in SHARP:
        yield "resizing without antialiasing"


def _kind(data: Mapping[str, Any]) -> str | None:
    """``Detr`` of ``DetrImageProcessorFast`` and of ``DetrFeatureExtractor``."""
    named = data.get("image_processor_type") or data.get("feature_extractor_type")
    if not isinstance(named, str):
        return None
    return named.partition("ImageProcessor")[0].partition("FeatureExtractor")[0]


def _pixels(value: Any) -> int | None:
    """A number of pixels, or None where it is none."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and value > 0
    return int(value) if whole and value < 2**31 else None


def _three(value: Any, default: tuple[float, float, float]) -> tuple[float, ...] | None:
    """Values of three channels; one number stands for all of them. None where it is neither."""
    if value is None:
        return default
    several = value if isinstance(value, list) else [value] * 3
    fine = len(several) == 3 and all(isinstance(one, int | float) and not isinstance(one, bool) for one in several)
    return tuple(float(one) for one in several) if fine else None
