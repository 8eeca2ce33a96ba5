"""What is to be built, as every way to a model is told it."""

from __future__ import annotations

from dataclasses import dataclass

from ...data.labels import LabelMap
from ...recipe.definition import LossSpec, ModelSpec
from ..model_place import ModelPlace
from .label_mapping import Categories, classes_needed


@dataclass(frozen=True)
class Wanted:
    """A recipe's model and the data's categories.

    random_weights: leave the recipe's weights out. place: locates errors. known: the mapping of a model that is built
    again, as a saved student's: it is kept, and sizes the head.
    """

    spec: ModelSpec
    categories: Categories
    loss: LossSpec
    random_weights: bool
    place: ModelPlace
    known: LabelMap | None

    @property
    def classes(self) -> int:
        """How many classes the head must have."""
        return self.known.classes if self.known is not None else classes_needed(self.categories, self.spec.labels)
