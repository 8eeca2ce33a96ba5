"""What evaluation compares detections with, in columns: a row for each box of a json, as it stands there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .document import Category, Document


@dataclass(frozen=True, eq=False)
class Truth:
    """annotations: the json. images: the ids of all. Then a row per box: image_id, category_id int64 (n,); bbox float64
    (n, 4) x, y, width, height in pixels; area float64 (n,); iscrowd bool (n,)."""

    annotations: Path
    images: tuple[int, ...]
    categories: tuple[Category, ...]
    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    bbox: NDArray[np.float64]
    area: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]


def truth_of(document: Document) -> Truth:
    """The columns of a checked json."""
    own = document.annotations
    return Truth(
        annotations=document.path,
        images=tuple(image.id for image in document.images),
        categories=document.categories,
        image_id=np.array([one.image_id for one in own], dtype=np.int64),
        category_id=np.array([one.category_id for one in own], dtype=np.int64),
        bbox=np.array([one.bbox for one in own], dtype=np.float64).reshape(-1, 4),
        area=np.array([one.area for one in own], dtype=np.float64),
        iscrowd=np.array([one.iscrowd for one in own], dtype=np.bool_),
    )
