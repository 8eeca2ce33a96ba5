"""How COCO's category ids, which may be sparse, map to the classes of a model's head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import DataError
from .document import Category


@dataclass(frozen=True)
class LabelMap:
    """Category ids against class indices.

    category_to_class: COCO category id to class index of the head; no two categories share a class.
    names: category id to name, for every mapped category.
    classes: real classes of the head, the no-object class of a softmax head not counted. Some may have no category:
        the published DETR has 91 classes for COCO's 80 categories.

    Raises: DataError for a class outside the head, a class used twice, or a category without a name.
    """

    category_to_class: dict[int, int]
    names: dict[int, str]
    classes: int

    def __post_init__(self) -> None:
        for category, index in self.category_to_class.items():
            if not 0 <= index < self.classes:
                raise DataError(
                    f"category {category} maps to class {index}, but the head has classes 0 to {self.classes - 1}"
                )
            if category not in self.names:
                raise DataError(f"category {category} has no name")
        if len(set(self.category_to_class.values())) != len(self.category_to_class):
            raise DataError("two categories map to the same class of the head")

    @classmethod
    def contiguous(cls, categories: Iterable[Category]) -> LabelMap:
        """Ascending category id to class 0, 1, 2, ..."""
        ordered = sorted(categories, key=lambda category: category.id)
        return cls(
            category_to_class={category.id: index for index, category in enumerate(ordered)},
            names={category.id: category.name for category in ordered},
            classes=len(ordered),
        )

    @property
    def class_to_category(self) -> dict[int, int]:
        """Class index to category id; classes without a category are absent."""
        return {index: category for category, index in self.category_to_class.items()}
