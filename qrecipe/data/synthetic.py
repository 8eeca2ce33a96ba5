"""The embedded data set: made on first use, the same pixels on every run, kept in a cache."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..cache_folder import default_cache
from ..errors import DataError
from ..recipe.definition import SplitSpec, SyntheticSpec
from .drawing import CLASSES, draw

FORMAT = 1
"""Raise whenever the pixels or boxes of a set change: old caches are then left alone."""

SMALLEST = 32
ANNOTATIONS = "instances.json"
IMAGES = "images"


def synthetic_splits(spec: SyntheticSpec, cache: Path | None = None) -> dict[str, SplitSpec]:
    """Train, val and test of a synthetic set, made where they are not in the cache yet.

    An image is a function of seed, split, size and its number: splits share no image, and a larger split starts
    with the images of a smaller one.

    Raises: DataError for an empty split, images under 32 pixels, or a cache that cannot be written.
    """
    counts = {"train": spec.train, "val": spec.val, "test": spec.test}
    for name, count in counts.items():
        if count < 1:
            raise DataError(
                f"the {name} split has {count} images", where=f"data.synthetic.{name}", remedy="ask for some"
            )
    if spec.size < SMALLEST:
        raise DataError(f"{spec.size} pixels are too few for shapes", where="data.synthetic.size", remedy="32 or more")
    if spec.seed < 0:
        raise DataError("the seed is negative", where="data.synthetic.seed", remedy="0 or more")
    root = cache or default_cache()
    splits: dict[str, SplitSpec] = {}
    for number, (name, count) in enumerate(counts.items()):
        folder = root / f"shapes-v{FORMAT}-size{spec.size}-seed{spec.seed}-{name}{count}"
        if not folder.is_dir():
            try:
                _make(folder, (spec.seed, number), count, spec.size)
            except OSError as error:
                raise DataError(
                    f"the synthetic set cannot be written: {error}",
                    where=str(folder),
                    remedy="name a folder with space that can be written in QRECIPE_CACHE",
                ) from error
        splits[name] = SplitSpec(images=folder / IMAGES, annotations=folder / ANNOTATIONS)
    return splits


def _make(folder: Path, seed: tuple[int, int], count: int, size: int) -> None:
    """Write into a temporary folder, then rename: a killed run leaves no half-made set under the final name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(partial, seed, count, size)
        partial.chmod(0o755)
        try:
            partial.rename(folder)
        except OSError:
            # Another process may have finished the same set in the meantime.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, seed: tuple[int, int], count: int, size: int) -> None:
    (folder / IMAGES).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        image, figures = draw(size, np.random.default_rng((*seed, number)))
        name = f"{number + 1:06d}.png"
        image.save(folder / IMAGES / name)
        images.append({"id": number + 1, "file_name": name, "width": size, "height": size})
        first = len(annotations) + 1
        annotations.extend(
            {
                "id": first + place,
                "image_id": number + 1,
                "category_id": figure.kind + 1,
                "bbox": list(figure.bbox),
                "area": figure.bbox[2] * figure.bbox[3],
                "iscrowd": 0,
            }
            for place, figure in enumerate(figures)
        )
    document = {
        "info": {"description": "qrecipe synthetic shapes"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": kind + 1, "name": name} for kind, name in enumerate(CLASSES)],
    }
    (folder / ANNOTATIONS).write_text(json.dumps(document), encoding="utf-8")
