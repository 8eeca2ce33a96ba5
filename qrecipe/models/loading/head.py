"""The class head of a detector of transformers: how large the stored one is, and what of it the data can use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...data.labels import LabelMap
from ...errors import ModelError
from ...recipe.definition import ModelSpec
from ..model_place import ModelPlace
from .configuration import Stored, name_classes
from .label_mapping import Categories, Mapped, classes_needed, map_labels, names_of_classes, unnamed


@dataclass(frozen=True)
class Head:
    """A head that a configuration was set to. kept: what is to be said of the mapping where the stored head is loaded;
    afresh: where it is not."""

    label_map: LabelMap
    kept: str | None = None
    afresh: str | None = None

    def messages(self, loaded: bool) -> tuple[str, ...]:
        """loaded: whether every tensor of the head came from the weights."""
        said = self.kept if loaded else self.afresh
        return () if said is None else (said,)


def stored_classes(model_class: Any, config: Any, state: Mapping[str, Tensor]) -> int | None:
    """The number of classes that a state_dict's heads are made for; None where they do not say.

    Two models without memory, of two and of three classes, show which tensors grow with it and how.
    """
    shapes = []
    for count in (2, 3):
        tried = copy.deepcopy(config)
        name_classes(tried, {index: str(index) for index in range(count)})
        with torch.device("meta"):
            shapes.append({key: tuple(value.shape) for key, value in model_class(tried).state_dict().items()})
    found: set[int | None] = set()
    for key, two in shapes[0].items():
        three, own = shapes[1][key], tuple(state[key].shape) if key in state else ()
        growing = [axis for axis in range(len(two)) if two[axis] != three[axis]]
        if len(growing) == 1 and len(own) == len(two):
            axis = growing[0]
            more, rest = divmod(own[axis] - two[axis], three[axis] - two[axis])
            found.add(more + 2 if rest == 0 and more > -2 else None)
    return found.pop() if len(found) == 1 else None


def fit_head(
    config: Any,
    stored: Stored | None,
    classes: int | None,
    spec: ModelSpec,
    categories: Categories,
    place: ModelPlace,
    known: LabelMap | None,
) -> Head:
    """Set the configuration's labels so that the stored head survives where it can be mapped. Mutates it.

    Args:
        classes: those of the weights' head, where that is known.
        known: a mapping that is kept as it is.

    Raises:
        ModelError: names that do not fit the head, or contradict the order of the data's categories.
    """
    if known is not None:
        names = {index: known.names[category] for index, category in known.class_to_category.items()}
        name_classes(config, {index: names.get(index, "N/A") for index in range(known.classes)})
        return Head(known)
    if "num_labels" in spec.config or "id2label" in spec.config:
        return _chosen(config, spec, categories, place)
    if stored is None:
        return _made(config, spec, categories, kept=True)
    classes = classes or stored.classes
    own = dict(stored.names or {})
    if spec.labels == "auto" and max(own, default=0) >= classes:
        what = f"{stored.file}: id2label names class {max(own)}, but the weights' head has classes 0 to {classes - 1}"
        raise place.error(("weights",), what, "correct it, or let model.labels say which category is which class")
    name_classes(config, {index: own.get(index, f"LABEL_{index}") for index in range(classes)})
    mapped = _mapped(categories, classes, own, spec, place)
    if mapped is not None:
        return Head(mapped.label_map, kept=mapped.message())
    made = _made(config, spec, categories, kept=False)
    half = unnamed(categories, own) if spec.labels == "auto" else ""
    return Head(
        made.label_map,
        afresh=f"the stored head of {classes} classes cannot be mapped to the data's {len(categories)} categories, "
        f"neither by name nor by id: a head of {made.label_map.classes} classes starts afresh"
        + (f" ({half})" if half else ""),
    )


def _chosen(config: Any, spec: ModelSpec, categories: Categories, place: ModelPlace) -> Head:
    """A head whose size or names the recipe gives."""
    mapped = _mapped(categories, config.num_labels, config.id2label, spec, place)
    if mapped is None:
        key = "num_labels" if "num_labels" in spec.config else "id2label"
        raise place.error(
            ("config", key),
            f"a head of {config.num_labels} classes cannot be mapped to the data's {len(categories)} categories",
            "leave it out: the head then gets the size that the data needs",
        )
    return Head(mapped.label_map, kept=mapped.message())


def _made(config: Any, spec: ModelSpec, categories: Categories, kept: bool) -> Head:
    """A head made for the data. kept: whether weights of which nothing is known may fit it."""
    name_classes(config, names_of_classes(categories, spec.labels))
    needed = classes_needed(categories, spec.labels)
    mapped = map_labels(categories, needed, None, spec.labels)
    assert mapped is not None
    return Head(mapped.label_map, kept=mapped.message() if kept else None)


def _mapped(
    categories: Categories, classes: int, names: Mapping[int, str], spec: ModelSpec, place: ModelPlace
) -> Mapped | None:
    try:
        return map_labels(categories, classes, names, spec.labels)
    except ModelError as problem:
        raise place.relocated(("labels",), problem) from problem
