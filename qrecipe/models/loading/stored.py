"""The configuration that a stored model of transformers has, as an architecture and the keys that a recipe names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...recipe.definition import ModelSpec, WeightsSource
from ..families import prompted
from ..model_place import ModelPlace
from ..resnets import without_timm
from .configuration import check_type, stored_config
from .quiet_transformers import quiet_transformers
from .weight_files import model_folder

OWN = {"transformers_version", "architectures", "return_dict", "output_hidden_states", "output_attentions", "dtype"}
LABELS = {"id2label", "label2id", "num_labels", "problem_type"}
BACKBONE = {"model_type", "out_features"}
"""What a configuration inside another one must say though it may be no field of its own."""


def stored_architecture(weights: WeightsSource, place: ModelPlace) -> tuple[str, dict[str, Any]]:
    """Architecture and configuration of a hub id or a local folder: what differs from the architecture's own defaults.

    Labels are left out: a recipe's data decides them. Of the hub, weights are fetched as well.

    Raises:
        ModelError: it is not there, is no detector that a family reads, or cannot be rebuilt from its fields.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto

    with quiet_transformers():
        config = stored_config(model_folder(weights, place), place).config
        if config.model_type in prompted():
            raise place.error(
                ("weights",),
                f"a {config.model_type} reads a text prompt, which no configuration holds",
                "write the recipe by hand, with model.config.prompt_ids or the tokenizer's files beside the weights",
            )
        check_type(config, ModelSpec(weights=weights), modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES, place)
        without_timm(config, place)
        kind = type(config)
        values = _unlike(config.to_dict(), kind, CONFIG_MAPPING)
        lost = sorted(
            _unlike(config.to_dict(), kind, CONFIG_MAPPING, kind(**values).to_dict()).keys() - _nested(values)
        )
    if lost:
        raise place.error(("config",), f"its configuration cannot be written into a recipe: {', '.join(lost)}")
    return config.model_type, values


def _unlike(
    stored: Mapping[str, Any], kind: type, kinds: Mapping[str, type], other: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The fields of a configuration that are not as in another one, by default a fresh one; inner ones always."""
    default: Mapping[str, Any] = kind().to_dict() if other is None else other
    found: dict[str, Any] = {}
    for key in sorted(_fields(kind) - OWN - LABELS):
        value = stored.get(key)
        if isinstance(value, Mapping) and value.get("model_type") in kinds:
            inner = kinds[value["model_type"]]
            found[key] = {name: value[name] for name in sorted(BACKBONE) if value.get(name) is not None}
            found[key] |= _unlike({name: own for name, own in value.items() if name != "out_indices"}, inner, kinds)
        elif key in stored and value != default.get(key) and not (value is None and key.endswith("_config")):
            found[key] = value
    return found


def _nested(values: Mapping[str, Any]) -> set[str]:
    return {key for key, value in values.items() if isinstance(value, Mapping)}


def _fields(kind: type) -> set[str]:
    return {field.name.removeprefix("_") for field in dataclasses.fields(kind)}
