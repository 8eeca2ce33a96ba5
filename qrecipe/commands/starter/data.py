"""The data of a new recipe: which COCO jsons in a folder are which split, and where their images are."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ...data.document import read_entries
from ...data.json_file import unreadable
from ...errors import DataError, RunError
from ...plain_text import short
from ...recipe.definition import SPLITS, SplitSpec
from ...recipe.files import at_home
from .model import placed, plain_name

SYNTHETIC = {"train": 512, "val": 128, "test": 256, "size": 128, "seed": 0}
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What names of files and folders call the splits."""
OTHER = ("captions", "person", "stuff", "panoptic", "image_info")
"""How COCO's files begin that are about something else."""
DEPTH, PROBES = 3, 3
"""How many levels below a folder are searched; how many images of a json are looked up."""
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


def starter_data(typed: Path | str | None, named: Mapping[str, str]) -> StarterData:
    """The synthetic set, or the splits of a folder; those in ``named`` are ``IMAGES:ANNOTATIONS``, taken as they are.

    Raises:
        RunError: synthetic data and named splits.
        DataError: no train or no val split, or several that might be meant; says what was found.
    """
    if typed == "synthetic":
        if named:
            raise RunError("synthetic data brings its own splits", where=f"--{next(iter(named))}")
        return StarterData("synthetic", None)
    folder = None if typed is None else Path(at_home(str(typed)))
    splits = {name: _named(name, text) for name, text in named.items()}
    if folder is None and not splits:
        raise DataError("is missing", where="--data", remedy=f"name the data set's folder, or synthetic, or {OPTIONS}")
    search = None if folder is None else _Search(folder)
    if search is not None:
        splits |= search.splits(known=splits)
    if missing := [name for name in ("train", "val") if name not in splits]:
        raise _incomplete(missing, splits, search)
    base = folder.absolute() if folder is not None else splits["train"].annotations.absolute().parent
    return StarterData(plain_name(base.name), {name: splits[name] for name in SPLITS if name in splits})


def _named(name: str, text: str) -> SplitSpec:
    """``IMAGES:ANNOTATIONS``; a colon may be part of either."""
    what = "no colon"
    for place in (place for place, letter in enumerate(text) if letter == ":"):
        images, annotations = text[:place], text[place + 1 :]
        split = SplitSpec(Path(at_home(images)), Path(at_home(annotations)))
        what = f"no file {annotations}" if unreadable(split.images) == "is a folder" else f"no folder {images}"
        if what.startswith("no file") and unreadable(split.annotations) is None:
            return split
    raise DataError(what, where=f"--{name} {text}", remedy="write IMAGES:ANNOTATIONS, a folder and a COCO json")


@final
class _Search:
    """A data set's folder.

    folders: it and those below it, hidden ones left out. closed: of them, those that may not be read, for the end of a
    message. jsons: by the split that their names, or else their folders', call; under ``""`` those that name none.

    Raises: DataError: it is no folder.
    """

    def __init__(self, folder: Path) -> None:
        reason = unreadable(folder)
        if reason != "is a folder":
            raise DataError(
                "no such folder" if reason == "is missing" else reason or "is a file",
                where=f"--data {folder}",
                remedy=f"name the data set's folder, or its splits: {OPTIONS}; or --data synthetic",
            )
        self.folder, self.folders = folder, list[Path]()
        closed: list[str] = []

        def unread(error: OSError) -> None:  # what is in it may be found by name all the same
            self.folders.append(Path(error.filename))
            closed.append(f"{error.filename}: {error.strerror or error}")

        for place, below, _ in os.walk(folder, onerror=unread, followlinks=True):
            self.folders.append(Path(place))
            inside = len(self.folders[-1].relative_to(folder).parts) < DEPTH
            below[:] = sorted(name for name in below if inside and not name.startswith("."))
        self.closed = f"; not looked into: {', '.join(closed)}" if closed else ""
        self.jsons: dict[str, list[Path]] = {}
        for file in (file for place in self.folders for file in sorted(place.glob("*.json"))):
            if not file.name.startswith((*OTHER, ".")):
                self.jsons.setdefault(self._split_of(file), []).append(file)

    def splits(self, known: Collection[str]) -> dict[str, SplitSpec]:
        """Those that it has, but for the known ones. Raises: DataError: several jsons, or folders of images, may be."""
        found: dict[str, SplitSpec] = {}
        for name in SPLITS:
            files = [] if name in known else self.jsons.get(name, [])
            if len(files) > 1:
                listed = ", ".join(str(file.relative_to(self.folder)) for file in files)
                raise DataError(
                    f"several files may be the {name} split: {listed}",
                    where=f"--data {self.folder}",
                    remedy=f"name the one that is meant: --{name} IMAGES:ANNOTATIONS",
                )
            if files:
                found[name] = SplitSpec(self._images(files[0], name), files[0])
        return found

    def _split_of(self, file: Path) -> str:
        for name in (file.stem, *reversed(file.parent.relative_to(self.folder).parts)):
            words = re.findall(r"[a-z]+", name.lower())
            if named := {WORDS[word] for word in words if word in WORDS}:
                return named.pop() if len(named) == 1 else ""
        return ""

    def _images(self, annotations: Path, split: str) -> Path:
        """The folder below which the json's images are: a few of their names are looked up."""
        names = [entry.get("file_name") for entry in read_entries(annotations)["images"]]
        texts = [name for name in names if isinstance(name, str) and name]
        if not texts:
            remedy = f"name another file: --{split} IMAGES:ANNOTATIONS"
            raise DataError("the json names no images", where=str(annotations), remedy=remedy)
        probes = [texts[index * (len(texts) - 1) // (PROBES - 1)] for index in range(PROBES)]
        places = [place for place in self.folders if all(unreadable(place / name) is None for name in probes)]
        own = [place for place in places if self._split_of(place / "-") == split]
        beside = [place for place in places if place == annotations.parent]
        chosen = own if len(own) == 1 else beside or places
        if len(chosen) == 1:
            return chosen[0]
        what = (
            f"several folders hold its images: {', '.join(map(str, places))}"
            if places
            else f"no folder here holds its image {short(probes[0])}{self.closed}"
        )
        raise DataError(what, where=str(annotations), remedy=f"name the right one: --{split} IMAGES:{annotations}")


def _incomplete(missing: Sequence[str], splits: Mapping[str, SplitSpec], search: _Search | None) -> DataError:
    listed = [f"{name}: {split.annotations}" for name, split in splits.items()]
    if search is not None and "" in search.jsons:
        listed.append(f"of no split by their names: {', '.join(map(str, search.jsons['']))}")
    seen = "; ".join(listed) or "no COCO json at all"
    what = f"no {' and no '.join(missing)} split was found ({seen}{search.closed if search is not None else ''})"
    named = " ".join(f"--{name} IMAGES:ANNOTATIONS" for name in missing)
    remedy = f"name {'it' if len(missing) == 1 else 'them'}: {named}"
    if missing == ["val"]:
        remedy += (
            "; the best epoch is chosen on val, so take images that are neither for training nor for the final test: "
            "split some off the training json"
        )
    return DataError(what, where=None if search is None else f"--data {search.folder}", remedy=remedy)
