"""What every command that runs a model sets up: the data's splits, the model, its capture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import torch

from ..data.coco import CocoIndex
from ..data.contradictions import batch_findings, input_findings, training_findings, transform_findings
from ..data.dataset import CocoDataset
from ..data.labels import LabelMap
from ..data.loader import BatchLoader, build_loader
from ..data.splits import resolve_splits
from ..errors import DataError, QRecipeError, RecipeErrors
from ..models.families import published_classes
from ..models.loading.build import Built, build_model
from ..processes import count, first_ahead, rank
from ..recipe.definition import SPLITS, InputSpec, KeyPath, ModelSpec, Recipe
from ..student import Original, capture_original
from .events import CaptureEnded, CaptureStarted, DataRead, Listener, ModelBuilt, Noted, nobody


@dataclasses.dataclass
class Workspace:
    """A recipe with its splits and models at hand; each is made on first use.

    splits: which splits the command needs, if the recipe has them. listener: is told what is going on.
    placeholder: where the data cannot be read, make up as many categories as the published model has.
    cache: whether a capture that an earlier command has kept will do, and a new one is kept.
    """

    recipe: Recipe
    splits: Sequence[str]
    listener: Listener = nobody
    placeholder: bool = False
    cache: bool = True
    _made_up: bool = dataclasses.field(default=False, init=False)

    @cached_property
    def data(self) -> dict[str, CocoIndex]:
        """The indices of the splits. Raises: DataError: none of them is there, or one cannot be used."""
        with first_ahead():
            indices = resolve_splits(self.recipe.data, tuple(self.splits))
        if not indices:
            given = SPLITS if self.recipe.data.format != "coco" else self._given()
            raise DataError(
                f"the recipe has no {' and no '.join(self.splits)} split",
                where=self.recipe.where(("data",)),
                remedy=f"it has {', '.join(given)}" if given else "name the images and annotations of one",
            )
        for name, index in indices.items():
            notes = tuple(index.lines(self.recipe.model.input.grey_range))
            self.listener(DataRead(name, len(index.images), index.boxes.total, notes))
        return indices

    def _given(self) -> list[str]:
        data = self.recipe.data
        return [name for name in SPLITS if getattr(data, name) is not None]

    @cached_property
    def known(self) -> dict[str, CocoIndex]:
        """The same; nothing, which is told, for a placeholder of data that cannot be read. Raises: DataError."""
        try:
            return self.data
        except DataError as problem:
            if not self.placeholder:
                raise
            unset = "$" in str(problem.where).replace("$$", "")
            reason = "its paths name an environment variable that is not set" if unset else str(problem).splitlines()[0]
            self.listener(Noted("data", f"not read: {reason}"))
            return {}

    @cached_property
    def categories(self) -> list[tuple[int, str]]:
        """(id, name) of the data's categories. Raises: DataError."""
        indices = self.known
        if not indices:
            spec = self.recipe.model
            count = int(spec.config.get("num_labels", published_classes(spec.architecture)))
            text = f"planned as if it had {count} categories; only the class heads depend on their number"
            self.listener(Noted("data", text))
            self._made_up = True
            return [(number, f"category {number}") for number in range(count)]
        return [(category.id, category.name) for category in next(iter(indices.values())).categories]

    @cached_property
    def built(self) -> Built:
        """The recipe's model."""
        return self._build(self.recipe.model, "model")

    @cached_property
    def original(self) -> Original:
        """The recipe's model, captured and verified."""
        return self._capture(self.built)

    @cached_property
    def teacher_original(self) -> Original:
        """The teacher, captured; the recipe's own model where it names no other."""
        if self.recipe.teacher is None:
            return self.original
        return self._capture(self._build(self.recipe.teacher, "teacher"))

    def _build(self, spec: ModelSpec, part: str) -> Built:
        def located(path: KeyPath, what: str, remedy: str | None = None) -> QRecipeError:
            return self.recipe.error((part, *path), what, remedy)

        categories = self.categories
        if self._made_up and spec.labels == "auto":  # names that were made up say nothing
            spec = dataclasses.replace(spec, labels="contiguous")
        with first_ahead(), torch.random.fork_rng(devices=[]):
            # What no weights fill is a function of the recipe's seed: a resumed run starts from the very same model.
            torch.manual_seed(self.recipe.seed)
            built = build_model(spec, categories, self.recipe.train.loss, error=located)
        notes = (*built.messages, *built.family.notes, *self._no_teacher(built, part))
        self.listener(ModelBuilt(part, type(built.model).__name__, notes))
        return built

    def _no_teacher(self, built: Built, part: str) -> tuple[str, ...]:
        """What is to be said of a model that is learned from or compared with, and knows nothing."""
        recipe = self.recipe
        spec = recipe.quantize
        taught = spec.asks or recipe.distill.targets
        if not built.fresh or (part == "model" and (recipe.teacher is not None or not taught)):
            return ()
        return (
            f"warning: this is no teacher: {built.fresh}. Train it first, real-valued, as `qrecipe init` writes it "
            "for such a model; what is compared with it or learned from it is worth nothing",
        )

    def _capture(self, built: Built) -> Original:
        name = type(built.model).__name__
        self.listener(CaptureStarted(name))
        original = capture_original(
            built.model, built.family, built.input, label_map=built.label_map, cache=self.cache, code=built.code
        )
        self.listener(CaptureEnded(name, tuple(original.captured.warnings), original.notes))
        return original

    def check_training(self) -> None:
        """Say now what would come out only once training's batches are made, or would be worth nothing.

        Raises:
            RecipeErrors: everything that is known, each at the key that is to be changed.
        """
        recipe, inputs = self.recipe, self.built.input
        spec, calibration, size = recipe.quantize, recipe.quantize.calibration, recipe.train.batch_size
        train = self.known.get("train")
        found = [*input_findings(inputs)]
        for name, index in self.known.items():
            if name != "train":
                found += batch_findings(index, inputs, size)
            elif spec.asks:
                found += batch_findings(index, inputs, calibration.batch_size, batches=calibration.batches)
        if recipe.train.epochs:
            found += transform_findings(recipe.data.transforms, inputs)
            if train is not None:
                found += [*training_findings(train), *batch_findings(train, inputs, size, recipe.data.transforms)]
            if "val" in self.known and not self.known["val"].boxes.total:
                text = "val: warning: there is nothing to find, so no epoch can be compared, and the last is kept"
                self.listener(Noted("data", text))
        if found:
            by_key = {finding[0]: finding for finding in reversed(found)}
            raise RecipeErrors([recipe.error(*finding) for finding in reversed(by_key.values())])
        if train is not None and recipe.train.epochs:
            self._dataset("train", self.built.label_map, inputs, train=True)  # what else its making may find

    def batches(
        self,
        split: str,
        label_map: LabelMap,
        image_input: InputSpec,
        *,
        train: bool,
        batch_size: int | None = None,
        shared: bool = False,
    ) -> BatchLoader:
        """Batches of a split: with training's transforms and order, or as evaluation sees them.

        shared: by all processes, each of which gets its part; else each gets all.

        Raises:
            DataError: the data cannot be used.
        """
        dataset = self._dataset(split, label_map, image_input, train=train)
        size = batch_size or self.recipe.train.batch_size
        part = (rank(), count()) if shared else (0, 1)
        return build_loader(dataset, size, shuffle=train, workers=self.recipe.data.workers, part=part)

    def _dataset(self, split: str, label_map: LabelMap, image_input: InputSpec, *, train: bool) -> CocoDataset:
        transforms = self.recipe.data.transforms if train else None
        return CocoDataset(self.data[split], label_map, image_input, transforms, self.recipe.seed)
