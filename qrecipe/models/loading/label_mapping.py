"""Which class of a head stands for which category of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from ...data.labels import LabelMap

Mode = Literal["auto", "contiguous", "category_id"]


def map_labels(
    categories: Sequence[tuple[int, str]], classes: int, id2label: Mapping[int, str] | None, mode: Mode = "auto"
) -> LabelMap | None:
    """Map COCO categories to the classes of a head; None where that cannot be done.

    ``auto``: by name, if the head's classes have real names and every category is found among them (upper and lower
    case alike); else contiguous, if there are as many classes as categories; else by category id, if there is one
    class more than the largest id. ``contiguous``: in ascending order of category ids, spare classes allowed.
    ``category_id``: the id is the class, spare classes allowed.

    Args:
        categories: (id, name), ids unique and not negative.
        classes: size of the head, no-object not counted.
        id2label: the head's own names, as in transformers' configurations, or None.
    """
    names = dict(categories)
    ids = sorted(names)
    if not ids:
        return None
    contiguous = {category: index for index, category in enumerate(ids)}
    by_id = {category: category for category in ids}
    if mode == "contiguous":
        mapping = contiguous if classes >= len(ids) else None
    elif mode == "category_id":
        mapping = by_id if classes > ids[-1] else None
    else:
        mapping = _by_name(names, classes, id2label or {})
        if mapping is None and classes == len(ids):
            mapping = contiguous
        if mapping is None and classes == ids[-1] + 1:
            mapping = by_id
    return None if mapping is None else LabelMap(category_to_class=mapping, names=names, classes=classes)


def classes_needed(categories: Sequence[tuple[int, str]], mode: Mode) -> int:
    """Size of a head that is made for these categories."""
    ids = [category for category, _ in categories]
    return max(ids) + 1 if mode == "category_id" else len(ids)


def names_of_classes(categories: Sequence[tuple[int, str]], mode: Mode) -> dict[int, str]:
    """id2label of a head that is made for these categories."""
    names = dict(categories)
    if mode == "category_id":
        return {index: names.get(index, "N/A") for index in range(max(names) + 1)}
    return {index: names[category] for index, category in enumerate(sorted(names))}


def _by_name(names: Mapping[int, str], classes: int, id2label: Mapping[int, str]) -> dict[int, int] | None:
    own = {int(index): name.strip().lower() for index, name in id2label.items() if int(index) < classes}
    # transformers' placeholder where nobody named the classes.
    if all(name == f"label_{index}" for index, name in own.items()):
        return None
    often = Counter(own.values())
    index_of = {name: index for index, name in own.items() if often[name] == 1}
    wanted = {category: name.strip().lower() for category, name in names.items()}
    if len(set(wanted.values())) < len(wanted) or not all(name in index_of for name in wanted.values()):
        return None
    return {category: index_of[name] for category, name in wanted.items()}
