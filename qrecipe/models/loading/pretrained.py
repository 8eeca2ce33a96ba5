"""Detectors of transformers: from a hub id, a local folder, or an architecture with its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...data.labels import LabelMap
from ...errors import ModelError
from ...recipe.definition import KeyPath, ModelSpec
from ...suggestions import hint
from ..families import architectures, family_of_type, prompted, resnets
from ..located import Place
from ..resnets import own_names, resnet_values, thaw_resnet, without_timm
from .label_mapping import classes_needed, map_labels, names_of_classes
from .prompt import set_prompt
from .quiet import quiet_transformers
from .state_dicts import Mismatch, restore_tied
from .weight_files import model_folder, read_weights


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model before its family: the mapping it was built for, and the head tensors that start afresh."""

    model: nn.Module
    label_map: LabelMap
    loading: dict[str, Any]
    messages: tuple[str, ...]

    @property
    def differing(self) -> list[Mismatch]:
        """(key, own shape, stored shape), of all tensors whose shapes differ."""
        return [(key, tuple(own), tuple(stored)) for key, stored, own in self.loading.get("mismatched_keys", ())]


def load_pretrained(
    spec: ModelSpec,
    categories: Sequence[tuple[int, str]],
    random_weights: bool,
    place: Place,
    known: LabelMap | None = None,
) -> Loaded:
    """Build a detector of transformers, head and labels fitted to the data, and fill it unless ``random_weights``.

    Args:
        known: a mapping that is kept as it is; the head gets its size.

    Raises:
        ModelError: no such architecture, configuration keys that it does not have, weights that are not there.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    detectors: Mapping[str, str] = {
        **modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
        **{kind: modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES[kind] for kind in prompted()},
    }
    with quiet_transformers():
        folder = None
        if spec.architecture is None:
            assert spec.weights is not None
            folder = model_folder(spec.weights, place, with_weights=not random_weights)
        elif spec.weights is not None and spec.weights.file is None and not random_weights:
            folder = model_folder(spec.weights, place)
        stored = None if folder is None else stored_config(folder, place)
        config = _config(spec, detectors, place) if spec.architecture is not None else _overridden(stored, spec, place)
        check_type(config, spec, detectors, place)
        if config.model_type in prompted():
            label_map, messages = set_prompt(config, folder, spec, categories, place, known)
        else:
            label_map, messages = _fit_head(config, stored, spec, categories, place, known)
        model_class = getattr(transformers, detectors[config.model_type])
        filled = spec.weights is not None and not random_weights
        try:
            if filled:
                model, loading, said = _fill(model_class, config, folder, spec, place)
            else:
                model, loading, said = model_class(config), {}, ()
        except (ImportError, OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
            path = ("weights",) if filled else ("config",)
            raise place.error(path, f"{model_class.__name__} cannot be built: {error}") from error
        if config.model_type in resnets() and config.backbone_config.model_type == "resnet":
            thaw_resnet(model)
        return Loaded(model, label_map, loading, (*said, *messages))


def _fill(
    model_class: Any, config: Any, folder: Path | None, spec: ModelSpec, place: Place
) -> tuple[nn.Module, Any, tuple[str, ...]]:
    """The model with stored weights, transformers' account of the keys, and what is to be said of the files.

    transformers renames keys of older versions.
    """
    assert spec.weights is not None
    weights = read_weights(spec.weights, place, folder)
    state = own_names(weights.state)
    model, loading = model_class.from_pretrained(
        None,
        config=config,
        state_dict=state,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    restore_tied(model, state)
    return model, loading, weights.messages


def check_type(config: Any, spec: ModelSpec, detectors: Mapping[str, str], place: Place) -> None:
    """Refuse what no family can read, before any weights are read."""
    if config.model_type not in detectors:
        raise place.error(("weights",), f"{config.model_type} is no detector of transformers")
    if spec.family is None:
        try:
            family_of_type(config.model_type)
        except ModelError as error:
            path = ("weights",) if spec.architecture is None else ("architecture",)
            raise place.relocated(path, error) from error


def stored_config(folder: Path, place: Place) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise place.error(
            ("weights",), f"{folder}/config.json cannot be read: {str(error).splitlines()[0]}", "no remote code is run"
        ) from error


def _config(spec: ModelSpec, detectors: Mapping[str, str], place: Place) -> Any:
    """The configuration of ``spec.architecture`` with the recipe's values."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    assert spec.architecture is not None
    if spec.architecture not in detectors or spec.architecture not in CONFIG_MAPPING:
        known = ["demo", *architectures()]
        near = hint(spec.architecture, known)
        raise place.error(
            ("architecture",),
            f'no architecture "{spec.architecture}"',
            f"{near}architectures are {', '.join(known)}; set model.factory for a detector of your own",
        )
    values = dict(spec.config)
    if spec.architecture in resnets():
        values = resnet_values(spec.architecture, resnets()[spec.architecture], values, place)
    config_class = CONFIG_MAPPING[spec.architecture]
    _check_keys(config_class, values, ("config",), place)
    try:
        return config_class(**values)
    except (StrictDataclassError, TypeError, ValueError, KeyError) as error:
        message = " ".join(str(error).split())
        raise place.error(("config",), f"{spec.architecture} refuses this configuration: {message}") from error


def _overridden(config: Any, spec: ModelSpec, place: Place) -> Any:
    """A stored configuration with the recipe's values over it."""
    _check_keys(type(config), spec.config, ("config",), place)
    for key, value in spec.config.items():
        setattr(config, key, value)
    without_timm(config, place)
    return config


def _check_keys(config_class: type, values: Mapping[str, Any], path: KeyPath, place: Place) -> None:
    """Unknown keys are errors; configurations inside are checked by their own ``model_type``."""
    from transformers import CONFIG_MAPPING

    allowed = {field.name.removeprefix("_") for field in dataclasses.fields(config_class)}
    allowed |= {"num_labels", *config_class.attribute_map}  # type: ignore[attr-defined]
    allowed -= {"transformers_version", "architectures", "return_dict", "output_hidden_states", "problem_type", "dtype"}
    if path == ("config",) and getattr(config_class, "model_type", None) in prompted():
        allowed |= {"prompt_ids"}
    if path != ("config",):
        allowed |= {"model_type", "out_features", "out_indices"}
    for key, value in values.items():
        if key not in allowed:
            near = hint(key, allowed)
            raise place.error(
                (*path, key), f'unknown key "{key}"', f"{near}{config_class.__name__} has {', '.join(sorted(allowed))}"
            )
        if key.endswith("_config") and isinstance(value, Mapping):
            kind = value.get("model_type")
            if kind not in CONFIG_MAPPING:
                raise place.error((*path, key), f'no model_type "{kind}"', "name one of transformers' backbones")
            _check_keys(CONFIG_MAPPING[kind], value, (*path, key), place)


def _fit_head(
    config: Any,
    stored: Any,
    spec: ModelSpec,
    categories: Sequence[tuple[int, str]],
    place: Place,
    known: LabelMap | None,
) -> tuple[LabelMap, tuple[str, ...]]:
    """Set the configuration's labels so that the stored head survives where it can be mapped."""
    if known is not None:
        names = {index: known.names[category] for index, category in known.class_to_category.items()}
        _name_classes(config, {index: names.get(index, "N/A") for index in range(known.classes)})
        return known, ()
    chosen = "num_labels" in spec.config or "id2label" in spec.config
    if stored is not None and not chosen:
        _name_classes(config, dict(stored.id2label))
    if stored is not None or chosen:
        label_map = map_labels(categories, config.num_labels, config.id2label, spec.labels)
        if label_map is not None:
            return label_map, ()
        if chosen:
            key = "num_labels" if "num_labels" in spec.config else "id2label"
            raise place.error(
                ("config", key),
                f"a head of {config.num_labels} classes cannot be mapped to the data's {len(categories)} categories",
                "leave it out: the head then gets the size that the data needs",
            )
    before, needed = config.num_labels, classes_needed(categories, spec.labels)
    _name_classes(config, names_of_classes(categories, spec.labels))
    label_map = map_labels(categories, needed, None, "category_id" if spec.labels == "category_id" else "contiguous")
    assert label_map is not None
    if stored is None:
        return label_map, ()
    return label_map, (
        f"the stored head of {before} classes cannot be mapped to the data's {len(categories)} categories, "
        f"neither by name nor by id: a head of {needed} classes starts afresh",
    )


def _name_classes(config: Any, names: dict[int, str]) -> None:
    config.id2label = names
    config.label2id = {name: index for index, name in names.items()}
