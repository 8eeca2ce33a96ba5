"""``qrecipe predict``: images in; boxes drawn, and COCO-format JSON out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..data.images import read_header, read_rgb
from ..data.json_file import unreadable
from ..data.notices import depth_lines, turned_line
from ..data.transforms import Sample, fit, to_tensor
from ..errors import DataError, RunError
from ..evaluation import detections
from ..experiment.detector import Detector
from ..experiment.events import Listener, Noted, nobody
from ..experiment.target import Target, find_target, open_target
from ..experiment.workspace import Workspace
from ..plain_text import short
from ..recipe.definition import Recipe
from ..report.draw import draw_detections
from ..run.files import write_atomically, writing
from ..run.layout import Which
from ..train.denormals import flushed_denormals

LONGEST_NAME = 60
"""Characters of an image's name in its picture's: file systems take 255 bytes."""

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
DETECTIONS = "detections.json"


def find_images(paths: Sequence[Path], limit: int | None = None) -> list[Path]:
    """Files as given, folders as the images in them by name; the first ``limit`` of all.

    Raises:
        DataError: paths that are not there, folders without images, files that are no images: all of them at once.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        reason = unreadable(path)
        if reason == "is a folder":
            inside, reason = _inside(path)
            found += inside
        elif reason is None:
            found.append(path)
        if reason is not None:
            problems.append(f"{path}: {reason}")
    chosen = found[:limit]
    for path in chosen:
        try:
            read_header(path)
        except DataError as error:
            problems.append(f"{path}: {error.what}")
    if problems:
        raise DataError("\n  ".join(["nothing was predicted:", *problems]) if len(problems) > 1 else problems[0])
    return chosen


def _inside(folder: Path) -> tuple[list[Path], str | None]:
    """The images in a folder by name, and what is wrong where there are none."""
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in IMAGES and entry.is_file())
    except OSError as error:
        return [], f"cannot be read: {error.strerror or error}"
    return inside, None if inside else f"the folder holds no images (known are {', '.join(IMAGES)})"


def check_output(output: Path) -> None:
    """Raises: RunError: something is there already, or the folder cannot be made."""
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        taken = any(output.iterdir())
    if taken:
        raise RunError(
            "the output folder is not empty, and nothing in it is overwritten",
            where=str(output),
            remedy="choose another --output",
        )


@dataclass(frozen=True)
class Predictions:
    """COCO's form: every detection is an annotation with a ``score``; image ids count from 1, in the order given."""

    images: tuple[dict[str, Any], ...]
    categories: tuple[dict[str, Any], ...]
    annotations: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        return {name: list(getattr(self, name)) for name in ("images", "categories", "annotations")}


def predict(
    target: Recipe | Path | str,
    images: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    model: Which | None = None,
    threshold: float = 0.3,
    limit: int | None = None,
    batch: int = 1,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
) -> Predictions:
    """Detect objects in images.

    Args:
        target, model, overrides, random_weights, cache: as ``qrecipe.evaluate`` takes them.
        images: files, and folders of them; ``limit``: only the first ones.
        batch: how many go through the model at once, where they have one size when they are prepared.
        output: a new or empty folder for ``detections.json`` and one picture per image; by default nothing is written.
        threshold: pictures show detections with this score or more.

    Raises:
        RunError: the output folder is not empty, or cannot be written.
        DataError: images that are not there or cannot be decoded; of the latter all others are done then.
    """
    found = find_target(target, model, overrides, random_weights)
    paths = find_images([Path(path) for path in images], limit)
    folder = None if output is None else Path(output)
    if folder is not None:
        check_output(folder)
    detector = open_target(found, Workspace(found.recipe, _split(found), listener, cache=cache))
    for line in _notices(paths, detector):
        listener(Noted("data", line))
    names = detector.label_map.names
    entries: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    broken: list[str] = []
    for first in range(0, len(paths), batch):
        read = _read(paths[first : first + batch], first + 1, detector, broken)
        for (number, path, picture), own in zip(read, _detect(detector, read), strict=True):
            results += own
            shown = [one for one in own if one["score"] >= threshold]
            entries.append(_entry(number, path, picture))
            if folder is not None:
                name = entries[-1]["picture"] = f"{number:04d}_{path.stem[:LONGEST_NAME]}.png"
                with writing(folder / name):
                    draw_detections(picture, shown, names).save(folder / name)
            text = f"{_counted(shown, names) or 'nothing'} with a score of {threshold:g} or more"
            listener(Noted(str(path), text, progress=True))
    predictions = _document(entries, results, names)
    if folder is not None:
        write_atomically(folder / DETECTIONS, json.dumps(predictions.to_dict(), indent=1).encode())
    if broken:
        done = f"{len(entries)} of {len(paths)} images are done; the others are left out:"
        raise DataError("\n  ".join([done, *broken]))
    return predictions


def _document(
    entries: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]], names: Mapping[int, str]
) -> Predictions:
    return Predictions(
        tuple(entries),
        tuple({"id": key, "name": name} for key, name in sorted(names.items())),
        tuple(_annotation(one, number) for number, one in enumerate(results, start=1)),
    )


def _notices(images: Sequence[Path], detector: Detector) -> list[str]:
    """What the model does not see as other programs show it."""
    files = []
    for path in images:
        with suppress(DataError):  # it is told when its turn comes
            files.append((path, read_header(path)))
    turned = [(str(path), header.orientation) for path, header in files if header.orientation != 1]
    return [*turned_line(turned), *depth_lines(files, detector.input.grey_range)]


def _split(target: Target) -> tuple[str, ...]:
    """One split, whose categories a recipe's model needs."""
    data = target.recipe.data
    given = [name for name in ("val", "train", "test") if getattr(data, name) is not None]
    return (given[0],) if data.format == "coco" and given else ("val",)


def _annotation(result: dict[str, Any], number: int) -> dict[str, Any]:
    """A result with what COCO's tools ask of an annotation; to them an id of 0 is none."""
    area = result["bbox"][2] * result["bbox"][3]
    return {"id": number, **result, "area": area, "iscrowd": 0}


def _counted(found: Sequence[dict[str, Any]], names: dict[int, str]) -> str:
    own = [names[one["category_id"]] for one in found]
    return ", ".join(f"{own.count(name)} {short(name)}" for name in dict.fromkeys(own))


def _read(
    paths: Sequence[Path], first: int, detector: Detector, broken: list[str]
) -> list[tuple[int, Path, Image.Image]]:
    """Those that can be decoded, with their numbers; ``broken`` is told of the others."""
    read = []
    for number, path in enumerate(paths, start=first):
        try:
            read.append((number, path, read_rgb(path, grey_range=detector.input.grey_range)))
        except DataError as error:
            broken.append(f"{path}: {error.what}")
    return read


def _entry(number: int, path: Path, picture: Image.Image) -> dict[str, Any]:
    return {"id": number, "file_name": str(path), "width": picture.width, "height": picture.height}


@flushed_denormals()
@torch.no_grad()
def _detect(detector: Detector, read: Sequence[tuple[int, Path, Image.Image]]) -> list[list[dict[str, Any]]]:
    """The results of each picture; those that are prepared to one size go through the model together."""
    found: dict[int, list[dict[str, Any]]] = {}
    sizes: dict[tuple[int, ...], list[tuple[int, Image.Image, torch.Tensor]]] = {}
    for number, _, picture in read:
        sample = fit(Sample(picture, np.zeros((0, 4)), np.zeros(0, dtype=np.int64)), detector.input)
        pixels = to_tensor(sample.image, detector.input)
        sizes.setdefault(tuple(pixels.shape), []).append((number, picture, pixels))
    for alike in sizes.values():
        numbers = [number for number, _, _ in alike]
        results = detections(
            detector.predict(torch.stack([pixels for _, _, pixels in alike]), None),
            image_ids=numbers,
            sizes=torch.tensor([[picture.height, picture.width] for _, picture, _ in alike]),
            label_map=detector.label_map,
            scores=detector.scores,
        )
        found |= {number: [one for one in results if one["image_id"] == number] for number in numbers}
    return [found[number] for number, _, _ in read]
