"""In what a recipe's configuration differs from the one that its weights were stored with."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ModelError
from ...plain_text import short
from ..model_place import ModelPlace
from ..resnets import without_timm
from .configuration import LABELS, NOT_ASKED, Stored

NO_MATTER: dict[str, str] = {
    **dict.fromkeys(LABELS, "the head is fitted to the data, and what is said of it is said there"),
    **dict.fromkeys(NOT_ASKED, "what a file is of, and how outputs are handed over"),
    "chunk_size_feed_forward": "the same values, computed in parts",
    "is_encoder_decoder": "what a model is, not what it computes",
    "use_cache": "of generation",
    "bos_token_id": "of generation",
    "eos_token_id": "of generation",
    "pad_token_id": "a prompt is not padded",
    "is_decoder": "of generation",
    "add_cross_attention": "of generation",
    "classifier_dropout": "of another head",
    "init_std": "first values, which the weights replace",
    "init_xavier_std": "first values, which the weights replace",
    "initializer_range": "first values, which the weights replace",
    "initializer_bias_prior_prob": "first values, which the weights replace",
    "embedding_init_target": "first values, which the weights replace",
    "random_refpoints_xy": "first values, which the weights replace",
    "cae_init_values": "first values, which the weights replace",
    "layerscale_value": "first values, which the weights replace",
    "auxiliary_loss": "train.loss.auxiliary of a recipe decides",
    "dice_loss_coefficient": "of masks",
    "mask_loss_coefficient": "of masks",
    "mask_class_loss_coefficient": "of masks",
    "mask_dice_loss_coefficient": "of masks",
    "mask_downsample_ratio": "of masks",
    "mask_point_sample_ratio": "of masks",
    "segmentation_head_activation_function": "of masks",
    "encoder_stride": "of masked pixels",
    "disable_custom_kernels": "the same values by other code",
    "return_intermediate": "read by no model",
    "dilation": "a dilated backbone is refused",
    "out_indices": "out_features by number",
}
"""Fields of configurations whose values change nothing that a detector with stored weights computes, and why."""
SHOWN = 12


def differences(stored: Stored, config: Any, place: ModelPlace) -> tuple[str, ...]:
    """Each value that differs and changes what is computed, in words: the stored one, and the recipe's.

    All fields count but those of ``NO_MATTER``, those of configurations inside too.
    """
    theirs = copy.deepcopy(stored.config)
    if theirs.model_type != config.model_type:
        return (f"model_type {theirs.model_type}, here {config.model_type}",)
    try:
        without_timm(theirs, place)
    except ModelError as problem:
        return (f"backbone_config: {problem.what}",)
    return tuple(_differing(theirs, config.to_dict(), theirs.to_dict()))


def otherwise(stored: Stored, found: tuple[str, ...]) -> str:
    """The sentence that names them."""
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{stored.file} differs from the model that the recipe builds: {', '.join(found[:SHOWN])}{more}"


def _differing(config: Any, own: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """config: the stored one as an object, which knows its fields."""
    for field in sorted(each.name.removeprefix("_") for each in dataclasses.fields(config)):
        if field in NO_MATTER:
            continue
        ours, stored = own.get(field), theirs.get(field)
        inner = getattr(config, field, None)
        if dataclasses.is_dataclass(inner) and isinstance(ours, Mapping) and isinstance(stored, Mapping):
            if ours.get("model_type") == stored.get("model_type"):
                yield from _differing(inner, ours, stored, f"{path}{field}.")
                continue
            ours, stored, field = ours.get("model_type"), stored.get("model_type"), f"{field}.model_type"
        if _plain(ours) != _plain(stored):
            yield f"{path}{field} {_shown(stored)}, here {_shown(ours)}"


def _plain(value: Any) -> Any:
    """A value in which tuples are lists, as JSON has them."""
    return json.loads(json.dumps(value, default=str))


def _shown(value: Any) -> str:
    return short(json.dumps(value, default=str))
