"""transformers' configuration of a detector: stored in a folder, or of an architecture with the recipe's values."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...recipe.definition import KeyPath, ModelSpec
from ...suggestions import hint
from ..families import architectures, family_of_type, prompted, resnets
from ..model_place import ModelPlace
from ..resnets import resnet_values, without_timm
from .class_names import class_names
from .file_kinds import read_mapping
from .weight_files import CONFIG

LABELS = ("id2label", "label2id", "num_labels")
TYPES = ("dtype", "torch_dtype")
"""What the weights were stored in: they are read as float32."""
NOT_ASKED = {"transformers_version", "architectures", "return_dict", "output_hidden_states", "problem_type", "dtype"}
"""Fields of a configuration that no recipe sets."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A folder's configuration. names: of its classes, None where it has none. classes: how many it says there are."""

    file: Path
    config: Any
    names: Mapping[int, str] | None
    classes: int


def stored_config(folder: Path, place: ModelPlace) -> Stored:
    """Read ``config.json``; no code is run.

    Raises:
        ModelError: it is no configuration of transformers, its ``id2label`` is no list of names, or what it describes
            has quantized weights.
    """
    from transformers import CONFIG_MAPPING

    path, file = ("weights",), folder / CONFIG
    stored = read_mapping(file, path, place)
    values = _without_labels(stored)
    try:
        names = class_names(stored.get("id2label"))
    except ModelError as problem:
        raise place.error(path, f"{file}: {problem.what}", problem.remedy) from problem
    if values.get("quantization_config"):
        what = f"{file} has a quantization_config: its weights are quantized already"
        raise place.error(path, what, "take the real-valued model; its weights are what a student is made of")
    kind = values.pop("model_type", None)
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        known = "names no model_type" if kind is None else f'has the model_type "{kind}", which transformers lacks'
        raise place.error(path, f"{file} cannot be read: it {known}", "no remote code is run")
    counted = stored.get("num_labels")
    classes = max(names) + 1 if names else counted if isinstance(counted, int) and 0 < counted < 10**6 else 2
    try:
        config = CONFIG_MAPPING[kind](**values)
        name_classes(config, {index: (names or {}).get(index, f"LABEL_{index}") for index in range(classes)})
    except Exception as error:  # whatever transformers makes of somebody's values
        raise place.error(path, f"{file} cannot be read: {' '.join(str(error).split())}") from error
    return Stored(file, config, names, classes)


def _without_labels(value: Any) -> Any:
    """A configuration without its labels and those of the configurations in it: a backbone's are ImageNet's."""
    if isinstance(value, dict):
        return {key: _without_labels(own) for key, own in value.items() if key not in (*LABELS, *TYPES)}
    return value


def chosen_config(spec: ModelSpec, detectors: Mapping[str, str], place: ModelPlace) -> Any:
    """The configuration of ``spec.architecture`` with the recipe's values.

    Raises:
        ModelError: no such architecture, or keys and values that it refuses.
    """
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
    values = _with_names(spec, place)
    if spec.architecture in resnets():
        values = resnet_values(spec.architecture, resnets()[spec.architecture], values, place)
    config_class = CONFIG_MAPPING[spec.architecture]
    _check_keys(config_class, values, ("config",), place)
    try:
        return config_class(**values)
    except (StrictDataclassError, TypeError, ValueError, KeyError, AttributeError) as error:
        message = " ".join(str(error).split())
        raise place.error(("config",), f"{spec.architecture} refuses this configuration: {message}") from error


def overridden(config: Any, spec: ModelSpec, place: ModelPlace) -> Any:
    """A copy of a stored configuration with the recipe's values over it."""
    config = copy.deepcopy(config)
    values = _with_names(spec, place)
    _check_keys(type(config), values, ("config",), place)
    for key, value in values.items():
        setattr(config, key, value)
    without_timm(config, place)
    return config


def check_type(config: Any, spec: ModelSpec, detectors: Mapping[str, str], place: ModelPlace) -> None:
    """Refuse what no family can read, before any weights are read."""
    if config.model_type not in detectors:
        raise place.error(("weights",), f"{config.model_type} is no detector of transformers")
    if spec.family is None:
        try:
            family_of_type(config.model_type)
        except ModelError as error:
            path = ("weights",) if spec.architecture is None else ("architecture",)
            raise place.relocated(path, error) from error


def name_classes(config: Any, names: dict[int, str]) -> None:
    """Give a configuration the names of its classes, which are as many as the head is to have. Mutates it."""
    config.id2label = names
    config.label2id = {name: index for index, name in names.items()}


def _with_names(spec: ModelSpec, place: ModelPlace) -> dict[str, Any]:
    """The recipe's ``model.config``, with its ``id2label`` as transformers takes it."""
    values = dict(spec.config)
    if "id2label" in values:
        try:
            names = class_names(values["id2label"])
        except ModelError as problem:
            raise place.error(("config", "id2label"), problem.what, problem.remedy) from problem
        if names is not None and sorted(names) != list(range(len(names))):
            raise place.error(("config", "id2label"), "it does not name every class from 0 on", "name them all")
        values["id2label"] = names
    return values


def _check_keys(config_class: type, values: Mapping[str, Any], path: KeyPath, place: ModelPlace) -> None:
    """Unknown keys are errors; configurations inside are checked by their own ``model_type``."""
    from transformers import CONFIG_MAPPING

    allowed = {field.name.removeprefix("_") for field in dataclasses.fields(config_class)}
    allowed |= {"num_labels", *config_class.attribute_map}  # type: ignore[attr-defined]
    allowed -= NOT_ASKED
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
