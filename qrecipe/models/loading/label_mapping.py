"""Which class of a head stands for which category of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...data.labels import LabelMap
from ...errors import ModelError
from ...plain_text import short
from ...suggestions import meant
from .class_names import is_named, nearest_class, same_names

Categories = Sequence[tuple[int, str]]
"""(COCO category id, name)"""
Mode = Literal["auto", "contiguous", "category_id"]
SHOWN = 8
"""Pairs that a message lists."""


@dataclass(frozen=True)
class Mapped:
    """A mapping, and how it was found: by the recipe's word, by names, or by the order or the ids of the categories.

    known: category id to the class of its name, for those that have one. names: of the classes, where they have any.
    """

    label_map: LabelMap
    by: Literal["recipe", "name", "order", "id"]
    known: Mapping[int, int]
    names: Mapping[int, str]

    def message(self) -> str | None:
        """What the user should know of a mapping that the recipe does not order and no names prove."""
        if self.by in ("recipe", "name"):
            return None
        others = [key for key in sorted(self.label_map.names) if key not in self.known]
        how = "in the order of the category ids" if self.by == "order" else "by category id"
        if self.known:
            share = f"{len(self.known)} of {len(self.label_map.names)}"
            lead = f"{share} categories are named as classes of the head; the others are taken {how}"
        elif self.names:
            lead = f"no category is named as a class of the head: classes are taken {how}"
        else:
            lead = f"the classes of the head have no names, and are taken {how}"
        means = "contiguous" if self.by == "order" else "category_id"
        pairs = _some(f"{_category(self.label_map, key)} is {_class(self, key)}" for key in others)
        return f"{lead}: {pairs}; model.labels: {means} says that this is meant"


def map_labels(
    categories: Categories, classes: int, id2label: Mapping[int, str] | None, mode: Mode = "auto"
) -> Mapped | None:
    """Map COCO categories to the classes of a head; None where that cannot be done.

    ``auto``: by name, if every category is called like one class of the head (case, spaces, hyphens and underscores
    aside); else contiguous, if there are as many classes as categories; else by category id, if there is one class more
    than the largest id. ``contiguous``: in ascending order of category ids, spare classes allowed. ``category_id``: the
    id is the class, spare classes allowed.

    Args:
        categories: (id, name), ids unique and not negative.
        classes: size of the head, no-object not counted.
        id2label: the head's own names by class, or None.

    Raises:
        ModelError: with ``auto``: some categories are called like a class, and the order or the ids of all of them say
            another one. No place; the remedy names ``model.labels``.
    """
    names = dict(categories)
    ids = sorted(names)
    if not ids:
        return None
    contiguous = {category: index for index, category in enumerate(ids)}
    by_id = {category: category for category in ids}
    own = {index: name for index, name in (id2label or {}).items() if index < classes}
    own = own if is_named(own) else {}
    if mode == "contiguous":
        return _mapped(contiguous, names, classes, "recipe", own) if classes >= len(ids) else None
    if mode == "category_id":
        return _mapped(by_id, names, classes, "recipe", own) if classes > ids[-1] else None
    known = same_names(names, own)
    if len(known) == len(ids):
        return _mapped(known, names, classes, "name", own, known)
    if classes == len(ids):
        found = _mapped(contiguous, names, classes, "order", own, known)
    elif classes == ids[-1] + 1:
        found = _mapped(by_id, names, classes, "id", own, known)
    else:
        return None
    if any(found.label_map.category_to_class[key] != index for key, index in known.items()):
        raise _permuted(found)
    return found


def classes_needed(categories: Categories, mode: Mode) -> int:
    """Size of a head that is made for these categories."""
    ids = [category for category, _ in categories]
    return max(ids) + 1 if mode == "category_id" else len(ids)


def names_of_classes(categories: Categories, mode: Mode) -> dict[int, str]:
    """id2label of a head that is made for these categories."""
    names = dict(categories)
    if mode == "category_id":
        return {index: names.get(index, "N/A") for index in range(max(names) + 1)}
    return {index: names[category] for index, category in enumerate(sorted(names))}


def unnamed(categories: Categories, id2label: Mapping[int, str] | None) -> str:
    """Which categories are called like no class, in a sentence, where others are; else "" ."""
    names = dict(categories)
    known = same_names(names, id2label or {})
    if not known:
        return ""
    others = [names[key] for key in sorted(names) if key not in known]
    return (
        f"{len(known)} of {len(names)} categories are named as classes of it; not so {_some(_meant(others, id2label))}"
    )


def _mapped(
    mapping: Mapping[int, int],
    names: dict[int, str],
    classes: int,
    by: Literal["recipe", "name", "order", "id"],
    own: Mapping[int, str],
    known: Mapping[int, int] | None = None,
) -> Mapped:
    return Mapped(LabelMap(category_to_class=dict(mapping), names=names, classes=classes), by, known or {}, own)


def _permuted(found: Mapped) -> ModelError:
    """The error of names and numbers that disagree."""
    mapping, names = found.label_map.category_to_class, found.label_map.names
    word = "order" if found.by == "order" else "id"
    pairs = [
        f'{_category(found.label_map, key)} is class {index} "{short(found.names[index])}" by name, '
        f"{_class(found, key)} by {word}"
        for key, index in found.known.items()
        if mapping[key] != index
    ]
    others = [names[key] for key in sorted(names) if key not in found.known]
    means = "contiguous" if found.by == "order" else "category_id"
    return ModelError(
        f"{len(found.known)} of {len(names)} categories are named as classes of the head, but not "
        f"{_some(_meant(others, found.names))}; and their {word} does not agree: {_some(pairs)}",
        remedy=f"spell the categories as the head does, or set model.labels: {means} if the {word} is right",
    )


def _meant(others: Sequence[str], id2label: Mapping[int, str] | None) -> Iterable[str]:
    known = list((id2label or {}).values())
    for name in others:
        close = nearest_class(name, known)
        yield f'"{short(name)}"' + (f" ({meant(short(close))})" if close else "")


def _category(label_map: LabelMap, key: int) -> str:
    return f'"{short(label_map.names[key])}" (id {key})'


def _class(found: Mapped, key: int) -> str:
    index = found.label_map.category_to_class[key]
    return f"class {index}" + (f' "{short(found.names[index])}"' if index in found.names else "")


def _some(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
