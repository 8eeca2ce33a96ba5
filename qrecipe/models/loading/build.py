"""From what a recipe says about a model to the module itself, the family that reads it, and its labels."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...data.labels import LabelMap
from ...errors import ModelError
from ...recipe.definition import InputSpec, LossSpec, ModelSpec
from ...suggestions import hint
from ..families import Family, build_family, known_family
from ..located import ErrorAt, Place, error_at_model
from .factories import call_factory
from .label_mapping import classes_needed, map_labels
from .pretrained import load_pretrained
from .state_dicts import check_keys, fill, reinitialised
from .weight_files import read_weights

Categories = Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Built:
    """A detector that is ready to be captured.

    model: in eval mode, on the CPU, in float32.
    family: how to feed and read it. input: the family's defaults with the recipe's values over them; concrete.
    label_map: COCO categories to classes of its head. messages: what the user should know of how it was built.
    """

    model: nn.Module
    family: Family
    input: InputSpec
    label_map: LabelMap
    messages: tuple[str, ...] = ()


def build_model(
    spec: ModelSpec,
    categories: Categories,
    loss_spec: LossSpec | None = None,
    random_weights: bool = False,
    error: ErrorAt = error_at_model,
    label_map: LabelMap | None = None,
) -> Built:
    """Build a recipe's model and fill it.

    Args:
        categories: (COCO category id, name) of the data.
        loss_spec: the recipe's ``train.loss``.
        random_weights: leave the weights out (a factory may still load its own).
        error: locates errors in the recipe; paths are below the model's own, as ``("weights", "hub")``.
        label_map: the mapping of a model that is built again, as a saved student's: it is kept, and sizes the head.

    Raises:
        ModelError: it cannot be built, filled, read, or its head cannot be mapped to the categories.
    """
    place = Place(error)
    loss = loss_spec or LossSpec()
    if spec.family is not None:
        try:
            known_family(spec.family)
        except ModelError as problem:
            raise place.relocated(("family",), problem) from problem
    if spec.factory is not None:
        return _from_factory(spec, categories, loss, random_weights, place, label_map)
    if spec.architecture == "demo":
        return _demo(spec, categories, loss, random_weights, place, label_map)
    _check_source(spec, place)
    loaded = load_pretrained(spec, categories, random_weights, place, label_map)
    family = _family(loaded.model, spec, loss, loaded.label_map.classes, place)
    try:
        loading, differing = loaded.loading, loaded.differing
        check_keys(loading.get("missing_keys", ()), loading.get("unexpected_keys", ()), differing, family.is_head)
    except ModelError as problem:
        raise place.relocated(("weights",), problem) from problem
    messages = (*loaded.messages, *([reinitialised(differing)] if differing else []))
    return Built(loaded.model.eval(), family, family.input(spec.input), loaded.label_map, messages)


def adopt_model(
    model: nn.Module,
    spec: ModelSpec,
    categories: Categories,
    loss_spec: LossSpec | None = None,
    error: ErrorAt = error_at_model,
) -> Built:
    """The same for a module that is there already; only ``family``, ``input`` and ``labels`` of the spec are read.

    Raises:
        ModelError: no family can read it, or its head cannot be mapped to the categories.
    """
    place = Place(error)
    family = _family(model, spec, loss_spec or LossSpec(), classes_needed(categories, spec.labels), place)
    return Built(model.eval(), family, family.input(spec.input), _map(model, family, spec, categories, place))


def _from_factory(
    spec: ModelSpec,
    categories: Categories,
    loss: LossSpec,
    random_weights: bool,
    place: Place,
    label_map: LabelMap | None,
) -> Built:
    assert spec.factory is not None
    arguments: dict[str, Any] = dict(spec.arguments)
    needed = label_map.classes if label_map is not None else classes_needed(categories, spec.labels)
    if spec.labels_argument is not None:
        if spec.labels_argument in arguments:
            raise place.error(("arguments", spec.labels_argument), "it is set by labels_argument already")
        arguments[spec.labels_argument] = needed
    model = call_factory(spec.factory, arguments, place)
    dtypes = {one.dtype for one in model.parameters() if one.is_floating_point()}
    if dtypes and torch.float32 not in dtypes:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        remedy = "images come in float32: return model.float()"
        raise place.error(
            ("factory",), f"the factory {spec.factory} returned a model with parameters in {found}", remedy
        )
    family = _family(model, spec, loss, needed, place)
    if spec.labels_argument is not None and family.classes != needed:
        raise place.error(
            ("labels_argument",),
            f"the factory was given {spec.labels_argument}={needed}, but its head has {family.classes} classes",
            "train.loss.classification says whether the last logit is a no-object class (cross_entropy) or not (focal)",
        )
    label_map = label_map or _map(model, family, spec, categories, place)
    messages = _fill(model, family, spec, random_weights, place)
    return Built(model.eval(), family, family.input(spec.input), label_map, messages)


def _demo(
    spec: ModelSpec,
    categories: Categories,
    loss: LossSpec,
    random_weights: bool,
    place: Place,
    label_map: LabelMap | None,
) -> Built:
    from ..demo.detector import DemoDetector

    known = [name for name in inspect.signature(DemoDetector).parameters if name != "num_labels"]
    for key in spec.config:
        if key not in known:
            near = hint(key, known)
            raise place.error(
                ("config", key), f'unknown key "{key}"', f"{near}the demo detector has {', '.join(known)}"
            )
    try:
        needed = label_map.classes if label_map is not None else classes_needed(categories, spec.labels)
        model = DemoDetector(num_labels=needed, **spec.config)
    except (TypeError, ValueError) as error:
        raise place.error(("config",), f"the demo detector refuses this configuration: {error}") from error
    family = _family(model, spec, loss, None, place)
    label_map = label_map or _map(model, family, spec, categories, place)
    messages = _fill(model, family, spec, random_weights, place)
    return Built(model.eval(), family, family.input(spec.input), label_map, messages)


def _check_source(spec: ModelSpec, place: Place) -> None:
    weights = spec.weights
    if weights is not None and weights.builtin is not None:
        raise place.error(("weights", "builtin"), "built-in weights are for architecture: demo")
    if spec.architecture is None and (weights is None or (weights.hub is None and weights.folder is None)):
        raise place.error((), "nothing says what to build", "set architecture, factory, weights.hub or weights.folder")


def _fill(model: nn.Module, family: Family, spec: ModelSpec, random_weights: bool, place: Place) -> tuple[str, ...]:
    if spec.weights is None or random_weights:
        return ()
    weights = read_weights(spec.weights, place)
    try:
        differing = fill(model, weights.state, family.is_head)
    except ModelError as problem:
        raise place.relocated(("weights",), problem) from problem
    return (*weights.messages, *([reinitialised(differing)] if differing else []))


def _family(model: nn.Module, spec: ModelSpec, loss: LossSpec, classes: int | None, place: Place) -> Family:
    try:
        return build_family(model, loss, spec.family, classes, spec.input.size)
    except ModelError as problem:
        named = "family" if spec.family is not None else "factory" if spec.factory is not None else "architecture"
        raise place.relocated((named,), problem) from problem


def _map(model: nn.Module, family: Family, spec: ModelSpec, categories: Categories, place: Place) -> LabelMap:
    names = getattr(getattr(model, "config", None), "id2label", None)
    label_map = map_labels(categories, family.classes, names, spec.labels)
    if label_map is not None:
        return label_map
    ids = [category for category, _ in categories]
    raise place.error(
        ("labels",) if spec.labels != "auto" else ("factory",) if spec.factory is not None else (),
        f"a head of {family.classes} classes cannot be mapped to {len(ids)} categories (ids {min(ids)} to {max(ids)})",
        "set labels_argument to the factory's keyword for the number of classes",
    )
