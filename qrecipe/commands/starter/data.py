"""The data of a new recipe: which COCO jsons in a folder are which split, and where their images are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.document import read_entries
from ...data.json_file import unreadable
from ...errors import DataError
from ...plain_text import short
from ...recipe.definition import SPLITS, SplitSpec
from .model import placed, plain_name

SYNTHETIC = {"train": 512, "val": 128, "test": 256, "size": 128, "seed": 0}
WORDS = {"train": "train training", "val": "val valid validation dev", "test": "test testing"}
"""What names of files and folders call the splits."""
OTHER = ("captions", "person", "stuff", "panoptic", "image_info")
"""How COCO's files begin that are about something else."""
DEPTH = 3
PROBES = 3
OPTIONS = "--train IMAGES:ANNOTATIONS --val IMAGES:ANNOTATIONS [--test IMAGES:ANNOTATIONS]"


@dataclass(frozen=True)
class StarterData:
    """name: for files. splits: paths as they were typed or found below what was typed; None is the synthetic set."""

    name: str
    splits: Mapping[str, SplitSpec] | None

    def section(self, base: Path | None) -> dict[str, Any]:
        """The keys under ``data`` of a recipe in the folder ``base``. A dollar sign of a path is doubled."""
        if self.splits is None:
            return {"format": "synthetic", "synthetic": SYNTHETIC}
        return {"format": "coco", **placed({name: vars(split) for name, split in self.splits.items()}, base, "$$")}


def starter_data(folder: Path | None, named: Mapping[str, str]) -> StarterData:
    """Find the splits of a folder; those in ``named`` (``IMAGES:ANNOTATIONS`` by split) are taken as they are.

    Raises:
        DataError: no train or no val split, or several that might be meant; says what was found.
    """
    splits = {name: _named(name, text) for name, text in named.items()}
    if folder is None and not splits:
        raise DataError("is missing", where="--data", remedy=f"name the data set's folder, or synthetic, or {OPTIONS}")
    reason = None if folder is None else unreadable(folder)
    if folder is not None and reason != "is a folder":
        raise DataError(
            "no such folder" if reason == "is missing" else reason or "is a file",
            where=f"--data {folder}",
            remedy=f"name the data set's folder, or its splits: {OPTIONS}; or --data synthetic",
        )
    found = _candidates(folder) if folder is not None else {}
    for name in SPLITS:
        if name in splits or not found.get(name):
            continue
        if len(found[name]) > 1:
            listed = ", ".join(str(file.relative_to(folder or "")) for file in found[name])
            remedy = f"name the one that is meant: --{name} IMAGES:ANNOTATIONS"
            raise DataError(f"several files may be the {name} split: {listed}", where=f"--data {folder}", remedy=remedy)
        assert folder is not None
        splits[name] = SplitSpec(_images(folder, found[name][0], name), found[name][0])
    _check_complete(folder, found, splits)
    base = folder.absolute() if folder is not None else splits["train"].annotations.absolute().parent
    ordered = {name: splits[name] for name in SPLITS if name in splits}
    return StarterData(plain_name(base.name), ordered)


def _named(name: str, text: str) -> SplitSpec:
    """``IMAGES:ANNOTATIONS``; a colon may be part of either."""
    places = [place for place, letter in enumerate(text) if letter == ":"]
    for place in places:
        split = SplitSpec(Path(text[:place]).expanduser(), Path(text[place + 1 :]).expanduser())
        if unreadable(split.images) == "is a folder" and unreadable(split.annotations) is None:
            return split
    where = f"--{name} {text}"
    if not places:
        raise DataError("no colon", where=where, remedy="write IMAGES:ANNOTATIONS, a folder and a COCO json")
    images, _, annotations = text.rpartition(":")
    has_images = unreadable(Path(images).expanduser()) == "is a folder"
    missing = f"no file {annotations}" if has_images else f"no folder {images}"
    raise DataError(missing, where=where, remedy="write IMAGES:ANNOTATIONS, a folder and a COCO json")


def _candidates(folder: Path) -> dict[str, list[Path]]:
    """The jsons of each split by their names, or else their folder's; under ``""`` those that name none."""
    found: dict[str, list[Path]] = {}
    for place in _folders(folder):
        for file in sorted(place.glob("*.json")):
            if not file.name.startswith(OTHER) and not file.name.startswith("."):
                found.setdefault(_split_of(file, folder), []).append(file)
    return found


def _split_of(file: Path, folder: Path) -> str:
    for name in (file.stem, *reversed(file.parent.relative_to(folder).parts)):
        found = set(re.findall(r"[a-z]+", name.lower()))
        named = [split for split, words in WORDS.items() if found & set(words.split())]
        if named:
            return named[0] if len(named) == 1 else ""
    return ""


def _folders(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folder, and those below it, hidden ones and those that may not be read left out."""
    yield folder
    if depth:
        below: list[Path] = []
        with suppress(OSError):
            below = _below(folder)
        for place in below:
            yield from _folders(place, depth - 1)


def _below(folder: Path) -> list[Path]:
    """Raises: OSError: the folder may not be read."""
    with os.scandir(folder) as entries:
        inside = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    return [folder / name for name in inside]


def _closed(folder: Path | None) -> str:
    """The folders that were left out because they may not be read, for the end of a message."""
    closed = []
    for place in _folders(folder) if folder is not None else ():
        try:
            _below(place)
        except OSError as error:
            closed.append(f"{place}: {error.strerror or error}")
    return f"; not looked into: {', '.join(closed)}" if closed else ""


def _images(folder: Path, annotations: Path, split: str) -> Path:
    """The folder below which the json's images are: a few of their names are looked up."""
    entries = read_entries(annotations)["images"]
    names = [entry.get("file_name") for entry in entries]
    texts = [name for name in names if isinstance(name, str) and name]
    if not texts:
        remedy = f"name another file: --{split} IMAGES:ANNOTATIONS"
        raise DataError("the json names no images", where=str(annotations), remedy=remedy)
    probes = [texts[index * (len(texts) - 1) // max(PROBES - 1, 1)] for index in range(PROBES)]
    places = [place for place in _folders(folder) if all(unreadable(place / name) is None for name in probes)]
    own = [place for place in places if _split_of(place / "-", folder) == split]
    beside = [place for place in places if place == annotations.parent]
    chosen = own if len(own) == 1 else beside or places
    if len(chosen) == 1:
        return chosen[0]
    what = (
        f"no folder here holds its image {short(probes[0])}{_closed(folder)}"
        if not places
        else f"several folders hold its images: {', '.join(str(place) for place in places)}"
    )
    raise DataError(what, where=str(annotations), remedy=f"name the right one: --{split} IMAGES:{annotations}")


def _check_complete(folder: Path | None, found: Mapping[str, list[Path]], splits: Mapping[str, SplitSpec]) -> None:
    missing = [name for name in ("train", "val") if name not in splits]
    if not missing:
        return
    listed = [f"{name}: {split.annotations}" for name, split in splits.items()]
    if others := found.get("", []):
        listed.append(f"of no split by their names: {', '.join(map(str, others))}")
    seen = "; ".join(listed) or "no COCO json at all"
    what = f"no {' and no '.join(missing)} split was found ({seen}{_closed(folder)})"
    named = " ".join(f"--{name} IMAGES:ANNOTATIONS" for name in missing)
    remedy = f"name {'it' if len(missing) == 1 else 'them'}: {named}"
    if missing == ["val"]:
        remedy += (
            "; the best epoch is chosen on val, so take images that are neither for training nor for the final test: "
            "split some off the training json"
        )
    raise DataError(what, where=None if folder is None else f"--data {folder}", remedy=remedy)
