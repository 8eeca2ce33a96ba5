"""A split as a map-style dataset."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DataError
from ..recipe.definition import InputSpec, TransformSpec, dotted
from .batch import Labels
from .coco import CocoIndex
from .contradictions import input_findings, transform_findings
from .images import read_rgb
from .labels import LabelMap
from .transforms import Sample, augment, fit, normalised, to_tensor


class Item(NamedTuple):
    """image: (3, H, W) float32; labels: see ``Labels``; size: (height, width) of the original, in pixels."""

    image: Tensor
    labels: Labels
    image_id: int
    size: tuple[int, int]


class CocoDataset(Dataset[Item]):
    """Images of an index, ready for a model.

    With ``transforms`` (training) item ``i`` is a function of seed, epoch and ``i`` alone. Without (evaluation) nothing
    is random, and boxes whose category the map lacks are left out of the labels.

    Raises: DataError for transforms that do not fit the input, or for training on a category that the map lacks.
    """

    def __init__(
        self,
        index: CocoIndex,
        label_map: LabelMap,
        inputs: InputSpec,
        transforms: TransformSpec | None = None,
        seed: int = 0,
    ) -> None:
        self.index = index
        self.label_map = label_map
        self.inputs = inputs
        self.transforms = transforms
        self.seed = seed
        self.epoch = 0
        found = input_findings(inputs) if transforms is None else transform_findings(transforms, inputs)
        for path, what, remedy in found:
            raise DataError(what, where=dotted(path), remedy=remedy)
        if transforms is not None:
            self._check_categories()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose random choices the next items take."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Item:
        """Raises: DataError with the image's id when its file cannot be decoded."""
        record = self.index.images[number]
        mapping = self.label_map.category_to_class
        boxes = [box for box in self.index.boxes[number] if box.category_id in mapping]
        sample = Sample(
            image=read_rgb(record.path, f"image {record.id} ({record.path})", self.inputs.grey_range),
            boxes=np.array([box.xyxy for box in boxes], dtype=np.float64).reshape(-1, 4),
            classes=np.array([mapping[box.category_id] for box in boxes], dtype=np.int64),
        )
        if self.transforms is None:
            sample = fit(sample, self.inputs)
        else:
            rng = np.random.default_rng((self.seed, self.epoch, number))
            sample = augment(sample, self.transforms, self.inputs, rng)
        labels = {
            "class_labels": torch.from_numpy(sample.classes),
            "boxes": torch.from_numpy(normalised(sample)),
        }
        return Item(to_tensor(sample.image, self.inputs), labels, record.id, (record.height, record.width))

    def _check_categories(self) -> None:
        used = set(np.unique(self.index.boxes.category_id).tolist())
        names = {category.id: category.name for category in self.index.categories}
        lacking = sorted(used - set(self.label_map.category_to_class))
        if lacking:
            raise DataError(
                "the model has no class for: " + ", ".join(f"{names[key]} ({key})" for key in lacking),
                where=str(self.index.annotations),
                remedy="train a head with a class for each of the data's categories",
            )
