"""Tiny COCO sets, written where a test wants them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qrecipe.recipe.definition import SplitSpec

WriteCoco = Callable[..., SplitSpec]

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 90, "name": "owl"}]


@pytest.fixture
def write_coco(tmp_path: Path) -> WriteCoco:
    """write_coco(images, annotations, categories, name, missing) -> SplitSpec.

    images: {id: (width, height)}; annotations: dicts, to which an id is added where they have none.
    """

    def write(
        images: dict[int, tuple[int, int]],
        annotations: list[dict[str, Any]] | None = None,
        categories: list[dict[str, Any]] | None = None,
        name: str = "set",
        missing: tuple[int, ...] = (),
    ) -> SplitSpec:
        folder = tmp_path / name
        folder.mkdir()
        for key, (width, height) in images.items():
            if key not in missing:
                pixels = np.random.default_rng(key).integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{key}.png")
        document = {
            "images": [{"id": k, "file_name": f"{k}.png", "width": w, "height": h} for k, (w, h) in images.items()],
            "annotations": [
                {"id": place, "iscrowd": 0, **entry} for place, entry in enumerate(annotations or [], start=1)
            ],
            "categories": CATEGORIES if categories is None else categories,
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        return SplitSpec(images=folder, annotations=path)

    return write
