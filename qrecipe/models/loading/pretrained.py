"""Detectors of transformers: from a hub id, a local folder, or an architecture with its configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...data.labels import LabelMap
from ...errors import ModelError
from ...recipe.definition import ModelSpec
from ..families import prompted, resnets
from ..model_place import ModelPlace
from ..resnets import own_names, thaw_resnet
from .configuration import check_type, chosen_config, overridden, stored_config
from .differences import differences, otherwise
from .head import Head, fit_head, stored_classes
from .label_mapping import Categories
from .prompt import set_prompt
from .quiet_transformers import quiet_transformers
from .state_dicts import Mismatch, check_types, restore_tied
from .weight_files import Weights, model_folder, read_weights

BROKEN = (ImportError, OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError)
"""What transformers raises where a configuration or weights do not fit."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model before its family: its head, and transformers' account of the keys. said: of files and prompts.
    folder: of its configuration and weights, where it has one. otherwise: in what that configuration differs from the
    one that was built, "" where in nothing."""

    model: nn.Module
    head: Head
    loading: dict[str, Any]
    said: tuple[str, ...]
    folder: Path | None
    otherwise: str

    @property
    def differing(self) -> list[Mismatch]:
        """(key, own shape, stored shape), of all tensors whose shapes differ."""
        return [(key, tuple(own), tuple(stored)) for key, stored, own in self.loading.get("mismatched_keys", ())]

    @property
    def messages(self) -> tuple[str, ...]:
        """What is to be said. Of a mapping nothing, where no weights prove or contradict it."""
        head = self.head.messages(not self.differing) if self.loading else ()
        return (*self.said, *([self.otherwise] if self.otherwise else []), *head)


def load_pretrained(
    spec: ModelSpec,
    categories: Categories,
    random_weights: bool,
    place: ModelPlace,
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
    filled = spec.weights is not None and not random_weights
    with quiet_transformers():
        folder = None
        if spec.architecture is None:
            assert spec.weights is not None
            folder = model_folder(spec.weights, place, with_weights=filled)
        elif spec.weights is not None and spec.weights.file is None and filled:
            folder = model_folder(spec.weights, place)
        stored = None if folder is None else stored_config(folder, place)
        if spec.architecture is not None:
            config = chosen_config(spec, detectors, place)
        else:
            assert stored is not None
            config = overridden(stored.config, spec, place)
        check_type(config, spec, detectors, place)
        found = differences(stored, config, place) if stored is not None else ()
        apart = otherwise(stored, found) if stored is not None and found else ""
        model_class = getattr(transformers, detectors[config.model_type])
        weights = Weights({})
        if filled:
            assert spec.weights is not None
            weights = read_weights(spec.weights, place, folder)
        state = own_names(weights.state)
        try:
            if config.model_type in prompted():
                label_map, said = set_prompt(config, folder, spec, categories, place, known)
                head = Head(label_map)
            else:
                classes = stored_classes(model_class, config, state) if stored is not None and filled else None
                head, said = fit_head(config, stored, classes, spec, categories, place, known), ()
            model, loading = _fill(model_class, config, state, place) if filled else (model_class(config), {})
        except BROKEN as error:
            path = ("weights",) if filled else ("config",)
            raise place.error(path, f"{model_class.__name__} cannot be built: {error}", apart or None) from error
        if config.model_type in resnets() and config.backbone_config.model_type == "resnet":
            thaw_resnet(model)
        return Loaded(model, head, loading, (*weights.messages, *said), folder, apart)


def _fill(model_class: Any, config: Any, state: Mapping[str, Tensor], place: ModelPlace) -> tuple[nn.Module, Any]:
    """The model with stored weights, and transformers' account of the keys. It renames keys of older versions.

    Raises:
        ModelError: integers where the model has real values, which transformers would take for such.
    """
    model, loading = model_class.from_pretrained(
        None,
        config=config,
        state_dict=state,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    try:
        check_types(model.state_dict(), state)
    except ModelError as problem:
        raise place.relocated(("weights",), problem) from problem
    restore_tied(model, state)
    return model, loading
