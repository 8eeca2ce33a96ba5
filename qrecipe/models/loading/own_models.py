"""Detectors that are not transformers': of a factory of one's own, and the built-in one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...data.drawing import CLASSES
from ...errors import ModelError
from ...suggestions import hint
from ..families import Family, build_family
from ..model_place import ModelPlace
from .class_names import class_names
from .factories import call_factory, factory_module
from .label_mapping import Mapped, map_labels
from .parts import Parts
from .state_dicts import Mismatch, fill
from .wanted import Wanted
from .weight_files import Weights, read_weights


def factory_model(wanted: Wanted) -> Parts:
    """What the recipe's factory returns, filled.

    Raises:
        ModelError: the factory fails, or its model cannot be read, mapped or filled.
    """
    spec, place, needed = wanted.spec, wanted.place, wanted.classes
    assert spec.factory is not None
    arguments: dict[str, Any] = dict(spec.arguments)
    if spec.labels_argument is not None:
        if spec.labels_argument in arguments:
            raise place.error(("arguments", spec.labels_argument), "it is set by labels_argument already")
        arguments[spec.labels_argument] = needed
    model = call_factory(spec.factory, arguments, place)
    _check_tensors(model, spec.factory, place)
    family = family_of(model, wanted, needed)
    if spec.labels_argument is not None and family.classes != needed:
        raise place.error(
            ("labels_argument",),
            f"the factory was given {spec.labels_argument}={needed}, but its head has {family.classes} classes",
            "train.loss.classification says whether the last logit is a no-object class (cross_entropy) or not (focal)",
        )
    mapped = _mapped(model, family, wanted)
    weights, differing = _filled(model, family, wanted)
    # A head that the factory made for the data, and that nothing filled, has no classes yet that could be others.
    fits = mapped is not None and not differing and (spec.labels_argument is None or weights is not None)
    parts = _parts(model, family, mapped, wanted, weights, differing, fits)
    return replace(parts, code=(factory_module(spec.factory),))


def demo_model(wanted: Wanted) -> Parts:
    """The built-in detector, filled.

    Raises:
        ModelError: it refuses its configuration, or its weights do not fit.
    """
    from ..demo.detector import DemoDetector

    spec, place = wanted.spec, wanted.place
    keys = [name for name in inspect.signature(DemoDetector).parameters if name != "num_labels"]
    for key in spec.config:
        if key not in keys:
            near = hint(key, keys)
            raise place.error(("config", key), f'unknown key "{key}"', f"{near}the demo detector has {', '.join(keys)}")
    try:
        model = DemoDetector(num_labels=wanted.classes, **spec.config)
    except (TypeError, ValueError) as error:
        raise place.error(("config",), f"the demo detector refuses this configuration: {error}") from error
    family = family_of(model, wanted, None)
    builtin = spec.weights is not None and spec.weights.builtin is not None and not wanted.random_weights
    names = dict(enumerate(CLASSES)) if builtin and wanted.classes == len(CLASSES) else None
    mapped = _mapped(model, family, wanted, names)
    weights, differing = _filled(model, family, wanted)
    return _parts(model, family, mapped, wanted, weights, differing, weights is not None and not differing)


def family_of(model: nn.Module, wanted: Wanted, classes: int | None) -> Family:
    """The family that reads a model. Raises: ModelError: none can, located where the recipe names the model."""
    spec, place = wanted.spec, wanted.place
    try:
        return build_family(model, wanted.loss, spec.family, classes, spec.input.size)
    except ModelError as problem:
        named = "family" if spec.family is not None else "factory" if spec.factory is not None else "architecture"
        raise place.relocated((named,), problem) from problem


def _mapped(model: nn.Module, family: Family, wanted: Wanted, names: Mapping[int, str] | None = None) -> Mapped | None:
    """The mapping of a head that is there already; None where one is known. names: of its classes, by default its
    configuration's.

    Raises:
        ModelError: there is none, or names contradict the order of the categories.
    """
    if wanted.known is not None:
        return None
    spec, categories, place = wanted.spec, wanted.categories, wanted.place
    if names is None:
        try:
            names = class_names(getattr(getattr(model, "config", None), "id2label", None))
        except ModelError as problem:
            raise place.relocated(("factory",) if spec.factory is not None else (), problem) from problem
    try:
        mapped = map_labels(categories, family.classes, names, spec.labels)
    except ModelError as problem:
        raise place.relocated(("labels",), problem) from problem
    if mapped is not None:
        return mapped
    ids = [category for category, _ in categories]
    raise place.error(
        ("labels",) if spec.labels != "auto" else ("factory",) if spec.factory is not None else (),
        f"a head of {family.classes} classes cannot be mapped to {len(ids)} categories (ids {min(ids)} to {max(ids)})",
        "set labels_argument to the factory's keyword for the number of classes",
    )


def _filled(model: nn.Module, family: Family, wanted: Wanted) -> tuple[Weights | None, list[Mismatch]]:
    """Fill a model from the recipe's weights, if there are any: those, and the tensors of its head that were not."""
    if wanted.spec.weights is None or wanted.random_weights:
        return None, []
    weights = read_weights(wanted.spec.weights, wanted.place)
    try:
        return weights, fill(model, weights.state, family.is_head)
    except ModelError as problem:
        raise wanted.place.relocated(("weights",), problem) from problem


def _parts(
    model: nn.Module,
    family: Family,
    mapped: Mapped | None,
    wanted: Wanted,
    weights: Weights | None,
    differing: list[Mismatch],
    fits: bool,
) -> Parts:
    """fits: whether classes that are trained already are mapped, so that it matters how."""
    label_map = mapped.label_map if mapped is not None else wanted.known
    assert label_map is not None
    said = mapped.message() if mapped is not None and fits else None
    messages = (*(weights.messages if weights is not None else ()), *([said] if said else []))
    return Parts(model, family, label_map, messages, differing, weights.folder if weights is not None else None)


def _check_tensors(model: nn.Module, factory: str, place: ModelPlace) -> None:
    """Raises: ModelError: parameters without values, or none in float32."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if empty := [name for name, tensor in tensors if tensor.is_meta]:
        what = f"the factory {factory} returned a model of which {len(empty)} tensors hold no values ({empty[0]}, ...)"
        remedy = "they are on the device meta: build it without torch.device('meta'), or fill it in the factory"
        raise place.error(("factory",), what, remedy)
    dtypes = {one.dtype for one in model.parameters() if one.is_floating_point()}
    if dtypes and torch.float32 not in dtypes:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        remedy = "images come in float32: return model.float()"
        raise place.error(("factory",), f"the factory {factory} returned a model with parameters in {found}", remedy)
