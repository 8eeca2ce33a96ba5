"""``qrecipe predict``: images in; boxes drawn, and COCO-format JSON out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.images import read_rgb
from ..data.labels import LabelMap
from ..data.transforms import Sample, fit, to_tensor
from ..errors import DataError, RunError
from ..evaluate import detections
from ..models.prediction import Prediction
from ..models.sources import Built
from ..report.draw import draw_detections
from ..student import Student
from ..student.store import load_student
from ..train.denormals import set_flushed
from .evaluate import Target
from .workshop import Say, Workshop

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders as the images in them, in order.

    Raises:
        DataError: a path that is not there, a folder without images, or nothing at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGES)
            if not inside:
                raise DataError("the folder holds no images", where=str(path), remedy=f"known are {', '.join(IMAGES)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError("there is no such image", where=str(path))
    if not found:
        raise DataError("no images were named")
    return found


def predict(
    target: Target, images: Sequence[Path], output: Path, say: Say, *, threshold: float = 0.3, limit: int | None = None
) -> list[dict[str, Any]]:
    """Detect objects, write ``detections.json`` and one picture per image into a new folder.

    The json holds every detection; the pictures show those with a score of ``threshold`` or more. Image ids are
    positions in ``images``, listed in the json's ``images``.

    Raises:
        RunError: the output folder is not empty. DataError: an image cannot be read.
    """
    set_flushed(True)
    if output.exists() and any(output.iterdir()):
        raise RunError("the output folder is not empty, and nothing in it is overwritten", where=str(output))
    model, label_map = _model(target, say)
    chosen = list(images)[:limit]
    output.mkdir(parents=True, exist_ok=True)
    entries, results = [], []
    for number, path in enumerate(chosen):
        picture = read_rgb(path)
        found = _detect(model, label_map, picture, number)
        results += found
        name = f"{number:04d}_{path.stem}.png"
        shown = [one for one in found if one["score"] >= threshold]
        draw_detections(picture, shown, label_map.names).save(output / name)
        entries.append(
            {"id": number, "file_name": str(path), "width": picture.width, "height": picture.height, "picture": name}
        )
        say(f"{path}: {len(shown)} objects" + (f" ({_named(shown, label_map)})" if shown else ""))
    categories = [{"id": key, "name": name} for key, name in sorted(label_map.names.items())]
    document = {"images": entries, "categories": categories, "annotations": results}
    (output / "detections.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return results


def _named(found: Sequence[dict[str, Any]], label_map: LabelMap) -> str:
    names = [label_map.names[one["category_id"]] for one in found]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def _model(target: Target, say: Say) -> tuple[Student | Built, LabelMap]:
    if target.student is not None:
        student = load_student(target.student)
        assert student.label_map is not None
        return student, student.label_map
    workshop = Workshop(target.recipe, ("val",), say)
    return workshop.built, workshop.built.label_map


@torch.no_grad()
def _detect(model: Student | Built, label_map: LabelMap, picture: Image.Image, number: int) -> list[dict[str, Any]]:
    sample = fit(Sample(picture, np.zeros((0, 4)), np.zeros(0, dtype=np.int64)), model.input)
    pixels = to_tensor(sample.image, model.input)[None]
    if isinstance(model, Student):
        parameter = next(model.parameters())
        prediction: Prediction = model.predict(pixels.to(parameter))
    else:
        outputs, extras = model.family.forward(model.model, model.family.inputs(pixels, None))
        prediction = model.family.read(outputs, extras)
    sizes = torch.tensor([[picture.height, picture.width]])
    return detections(
        prediction, image_ids=[number], sizes=sizes, label_map=label_map, kind=model.family.scores
    )
