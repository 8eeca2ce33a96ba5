"""What `qrecipe init` is given: COCO data in a folder, and a Python file with factories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

NAMES = ("red", "green", "blue")


FACTORY = """
from torch import nn
from qrecipe.models.demo import DemoDetector

def build(num_classes=80, pretrained=True):
    return DemoDetector(num_classes, width=16, queries=5, decoder_layers=1, heads=2)

def fixed():
    return DemoDetector(7, width=16, queries=5, decoder_layers=1, heads=2)

class Doubled(DemoDetector):
    @property
    def queries(self):
        return 10 if self.training else 5

    @queries.setter
    def queries(self, count): ...

def doubled(num_labels: int):
    return Doubled(num_labels, width=16, queries=5, decoder_layers=1, heads=2)

def needy(num_labels, width, *rest, **options): ...

def broken():
    raise KeyError("weights")

def wrong():
    return 3

class Plain(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(2))
        self.scores, self.boxes = nn.Linear(8, classes), nn.Linear(8, 4)

    def forward(self, pixel_values):
        tokens = self.body(pixel_values).flatten(2).transpose(1, 2)
        return {"logits": self.scores(tokens), "pred_boxes": self.boxes(tokens).sigmoid()}

def plain(num_labels: int):
    return Plain(num_labels)
"""


def coco(file: Path, images: Path, count: int = 4, names: Sequence[str] = NAMES, first: int = 1) -> None:
    """A json, and its images in a folder: grey, each with a box."""
    images.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    ids = range(first, first + count)
    for number in ids:
        Image.new("RGB", (64, 48), (number, 90, 90)).save(images / f"{number}.png")
    document = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in ids],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [8, 8, 20, 20], "area": 400, "iscrowd": 0}
            for number in ids
        ],
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(names)],
    }
    file.write_text(json.dumps(document))


def data_set(folder: Path, splits: Sequence[str] = ("train", "val", "test"), names: Sequence[str] = NAMES) -> Path:
    """``instances_SPLIT.json`` beside ``images/``."""
    for index, split in enumerate(splits):
        coco(folder / f"instances_{split}.json", folder / "images", names=names, first=1 + 10 * index)
    return folder


def factory(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.py").write_text(FACTORY)
    return folder / "build.py"
