"""From what a recipe says about a model to the module itself, the family that reads it, and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...data.labels import LabelMap
from ...errors import ModelError
from ...recipe.definition import InputSpec, LossSpec, ModelSpec
from ..families import Family, known_family
from ..model_place import ErrorAt, ModelPlace, error_at_model
from .label_mapping import Categories, classes_needed
from .own_models import demo_model, factory_model, family_of, map_head
from .parts import Parts
from .pretrained import load_pretrained
from .processor import prepared, stored_input
from .state_dicts import check_keys, reinitialised


@dataclass(frozen=True)
class Built:
    """A detector that is ready to be captured.

    model: in eval mode, on the CPU, in float32.
    family: how to feed and read it. input: the family's defaults, under what is stored with the weights, under the
        recipe's values; concrete. processor: the file that has the stored ones.
    label_map: COCO categories to classes of its head. messages: what the user should know of how it was built.
    fresh: why its head knows nothing yet; "" where it may.
    """

    model: nn.Module
    family: Family
    input: InputSpec
    label_map: LabelMap
    messages: tuple[str, ...] = ()
    fresh: str = ""
    processor: Path | None = None


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
    place = ModelPlace(error)
    loss = loss_spec or LossSpec()
    if spec.family is not None:
        try:
            known_family(spec.family)
        except ModelError as problem:
            raise place.relocated(("family",), problem) from problem
    if spec.factory is not None:
        parts = factory_model(spec, categories, loss, random_weights, place, label_map)
    elif spec.architecture == "demo":
        parts = demo_model(spec, categories, loss, random_weights, place, label_map)
    else:
        parts = _pretrained(spec, categories, loss, random_weights, place, label_map)
    differing, folder, default = parts.differing, parts.folder, parts.family.default_input
    stored = None if folder is None else stored_input(folder, default, place)
    pretrained = spec.factory is None and spec.architecture != "demo"
    image_input, said = prepared(spec.input, default, stored, folder if pretrained else None)
    return Built(
        parts.model.eval(),
        parts.family,
        image_input,
        parts.label_map,
        (*parts.messages, *([reinitialised(differing)] if differing else []), *said),
        "its class head has just been re-initialised" if differing else "",
        None if stored is None else stored.file,
    )


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
    place = ModelPlace(error)
    family = family_of(model, spec, loss_spec or LossSpec(), classes_needed(categories, spec.labels), place)
    mapped = map_head(model, family, spec, categories, place)
    said = mapped.message()
    return Built(model.eval(), family, family.input(spec.input), mapped.label_map, (said,) if said else ())


def _pretrained(
    spec: ModelSpec,
    categories: Categories,
    loss: LossSpec,
    random_weights: bool,
    place: ModelPlace,
    known: LabelMap | None,
) -> Parts:
    _check_source(spec, place)
    loaded = load_pretrained(spec, categories, random_weights, place, known)
    label_map = loaded.head.label_map
    family = family_of(loaded.model, spec, loss, label_map.classes, place)
    try:
        loading, differing = loaded.loading, loaded.differing
        check_keys(loading.get("missing_keys", ()), loading.get("unexpected_keys", ()), differing, family.is_head)
    except ModelError as problem:
        problem.remedy = loaded.otherwise or problem.remedy
        raise place.relocated(("weights",), problem) from problem
    return Parts(loaded.model, family, label_map, loaded.messages, differing, loaded.folder)


def _check_source(spec: ModelSpec, place: ModelPlace) -> None:
    weights = spec.weights
    if weights is not None and weights.builtin is not None:
        raise place.error(("weights", "builtin"), "built-in weights are for architecture: demo")
    if spec.architecture is None and (weights is None or (weights.hub is None and weights.folder is None)):
        raise place.error((), "nothing says what to build", "set architecture, factory, weights.hub or weights.folder")
