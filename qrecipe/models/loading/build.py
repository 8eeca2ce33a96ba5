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
from .label_mapping import Categories
from .own_models import demo_model, factory_model, family_of
from .parts import Parts
from .pretrained import load_pretrained
from .processor import prepared, stored_input
from .state_dicts import check_keys, reinitialised
from .wanted import Wanted


@dataclass(frozen=True)
class Built:
    """A detector that is ready to be captured.

    model: in eval mode, on the CPU, in float32.
    family: how to feed and read it. input: the family's defaults, under what is stored with the weights, under the
        recipe's values; concrete. processor: the file that has the stored ones.
    label_map: COCO categories to classes of its head. messages: what the user should know of how it was built.
    fresh: why its head knows nothing yet; "" where it may. code: names of the modules of code that made it.
    """

    model: nn.Module
    family: Family
    input: InputSpec
    label_map: LabelMap
    messages: tuple[str, ...] = ()
    fresh: str = ""
    processor: Path | None = None
    code: tuple[str, ...] = ()


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
    wanted = Wanted(spec, categories, loss_spec or LossSpec(), random_weights, place, label_map)
    if spec.family is not None:
        try:
            known_family(spec.family)
        except ModelError as problem:
            raise place.relocated(("family",), problem) from problem
    if spec.factory is not None:
        parts = factory_model(wanted)
    elif spec.architecture == "demo":
        parts = demo_model(wanted)
    else:
        parts = _pretrained(wanted)
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
        parts.code,
    )


def _pretrained(wanted: Wanted) -> Parts:
    spec, place = wanted.spec, wanted.place
    _check_source(spec, place)
    loaded = load_pretrained(spec, wanted.categories, wanted.random_weights, place, wanted.known)
    label_map = loaded.head.label_map
    family = family_of(loaded.model, wanted, label_map.classes)
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
