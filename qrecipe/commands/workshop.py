"""What every command that runs a model sets up: the data's splits, the model, its capture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..data.coco import CocoIndex
from ..data.dataset import CocoDataset
from ..data.labels import LabelMap
from ..data.loader import BatchLoader, build_loader
from ..data.splits import resolve_splits
from ..errors import DataError, QRecipeError
from ..models.sources import Built, build_model
from ..recipe.definition import InputSpec, KeyPath, ModelSpec, Recipe
from ..student import Source, capture_source

Say = Callable[[str], None]


@dataclass
class Workshop:
    """A recipe with its splits and models at hand; each is made on first use.

    splits: which splits the command needs. say: where to tell the user what is going on.
    random_weights: leave the recipe's weights out.
    """

    recipe: Recipe
    splits: Sequence[str]
    say: Say
    random_weights: bool = False

    @cached_property
    def data(self) -> dict[str, CocoIndex]:
        """The indices of the splits. Raises: DataError."""
        indices = resolve_splits(self.recipe.data, tuple(self.splits))
        for name, index in indices.items():
            boxes = sum(len(own) for own in index.boxes)
            self.say(f"data: {name} has {len(index.images)} images and {boxes} boxes")
            for line in index.report.lines():
                self.say(f"data: {name}: {line}")
        return indices

    @cached_property
    def categories(self) -> list[tuple[int, str]]:
        index = next(iter(self.data.values()))
        return [(category.id, category.name) for category in index.categories]

    @cached_property
    def built(self) -> Built:
        """The recipe's model."""
        return self._build(self.recipe.model, ("model",))

    @cached_property
    def source(self) -> Source:
        """The recipe's model, captured and verified."""
        return self._capture(self.built)

    @cached_property
    def teacher_source(self) -> Source:
        """The teacher, captured; the recipe's own model where it names no other."""
        if self.recipe.teacher is None:
            return self.source
        return self._capture(self._build(self.recipe.teacher, ("teacher",)))

    def _build(self, spec: ModelSpec, path: KeyPath) -> Built:
        def located(below: KeyPath, what: str, remedy: str | None = None) -> QRecipeError:
            return self.recipe.error((*path, *below), what, remedy)

        built = build_model(spec, self.categories, self.recipe.train.loss, self.random_weights, located)
        for message in (*built.messages, *built.family.notes):
            self.say(f"{path[0]}: {message}")
        return built

    def _capture(self, built: Built) -> Source:
        self.say(f"capture: {type(built.model).__name__} as graphs for training and evaluation, checked at other sizes")
        return capture_source(built.model, built.family, built.input, label_map=built.label_map)

    def loader(
        self, split: str, *, train: bool, batch_size: int | None = None, source: Built | Source | None = None
    ) -> BatchLoader:
        """Batches of a split: with training's transforms and order, or as evaluation sees them.

        Raises:
            DataError: the recipe has no such split.
        """
        given = source or self.built
        label_map, image_input = given.label_map, given.input
        assert isinstance(label_map, LabelMap)
        return self.batches(split, label_map, image_input, train=train, batch_size=batch_size)

    def batches(
        self, split: str, label_map: LabelMap, image_input: InputSpec, *, train: bool, batch_size: int | None = None
    ) -> BatchLoader:
        """The same for a label map and an input of one's own."""
        if split not in self.data:
            raise DataError(
                f"the recipe has no {split} split", where=f"data.{split}", remedy=f"it has {', '.join(self.data)}"
            )
        data = self.recipe.data
        dataset = CocoDataset(
            self.data[split], label_map, image_input, data.transforms if train else None, self.recipe.seed
        )
        size = batch_size or self.recipe.train.batch_size
        return build_loader(dataset, size, shuffle=train, workers=data.workers)
