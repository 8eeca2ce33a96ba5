"""A COCO detection json, every field that anything reads checked, and its values as they are meant."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from .fields import ABSENT, FIELDS, Numbers, shown, whole
from .json_file import Repeated, read_json_file
from .problems import Problems

REMEDY = "name a COCO detection json under data"
_KEYS = frozenset({*FIELDS, *(name for fields in FIELDS.values() for name in fields)})


@dataclass(frozen=True, slots=True)
class Category:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image as the json has it; width and height in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """A box as the json has it: x, y, width, height in pixels, neither clipped nor dropped.

    area: in square pixels; the box's own where the json has none.
    """

    id: int
    image_id: int
    category_id: int
    bbox: Numbers
    area: float
    iscrowd: bool


@dataclass(frozen=True)
class Document:
    """What is sound in a json, each list in its order, categories by id."""

    path: Path
    images: tuple[ImageEntry, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]


def read_document(path: Path, problems: Problems) -> Document:
    """Read and check a json, without its images. Entries with a problem, which ``problems`` is told, are left out.

    Whole floats are whole numbers; where the format has a default, null is as if the field were absent. What follows
    from a problem (a box of an image that is left out) is none of its own.

    Raises: DataError where the file cannot be read, or is not COCO's.
    """
    hasty = Problems()
    with suppress(DataError):
        found = _read(path, hasty, exact=False)
        if not hasty:
            return found
    return _read(path, problems, exact=True)  # once more, for a message of what stands there


def _read(path: Path, problems: Problems, exact: bool) -> Document:
    entries = read_entries(path, exact)
    images = _Entries("images", entries["images"], problems)
    categories = _Entries("categories", entries["categories"], problems)
    known = [ImageEntry(**values) for _, values in images if images.is_whole(values)]
    named = [Category(**values) for _, values in categories if categories.is_whole(values)]
    ids = {image.id for image in known}, {category.id for category in named}
    annotations = _Entries("annotations", entries["annotations"], problems)
    found: list[Annotation] = []
    for label, values in annotations:
        for field, owners in (("image_id", images), ("category_id", categories)):
            if owners.lack(values.get(field)):
                problems.add(f"annotations of an unknown {owners.one}", f"{label}: {field} {values[field]}")
        if annotations.is_whole(values) and values["image_id"] in ids[0] and values["category_id"] in ids[1]:
            if math.isnan(values["area"]):
                values["area"] = max(0.0, values["bbox"][2]) * max(0.0, values["bbox"][3])
            found.append(Annotation(**values))
    return Document(path, tuple(known), tuple(found), tuple(sorted(named, key=lambda category: category.id)))


class _Entries:
    """One list of a json. Iterating once tells ``problems`` what is wrong, and gives each entry's label (its id, or its
    place) and the values that are sound, by field."""

    def __init__(self, kind: str, entries: list[dict[str, Any]], problems: Problems) -> None:
        self.kind, self.one = kind, {"categories": "category"}.get(kind, kind.removesuffix("s"))
        self._entries, self._problems, self._fields = entries, problems, FIELDS[kind]
        self._ids: set[int] = set()
        self._nameless = not entries
        if not entries and kind != "annotations":
            problems.add(f"no {kind}", "the list is empty")

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for place, entry in enumerate(self._entries):
            key = whole(entry.get("id"))
            label = f"{self.kind}[{place}]" if key is None else str(key)
            values: dict[str, Any] = {}
            for field, (read, wrong) in self._fields.items():
                values[field] = read(entry.get(field, ABSENT))
                if values[field] is None:
                    del values[field]
                    self._problems.add(
                        f"{self.kind} whose {field} {wrong}", f"{label}: {shown(entry.get(field, ABSENT))}"
                    )
            if isinstance(entry, Repeated) and (twice := [field for field in self._fields if field in entry.twice]):
                self._problems.add(f"{self.kind} with a key given twice", f"{label}: {', '.join(twice)}")
            if key in self._ids:
                self._problems.add(f"{self.one} ids used twice", label)
                del values["id"]
            elif key is None:
                self._nameless = True
            else:
                self._ids.add(key)
            yield label, values

    def is_whole(self, values: dict[str, Any]) -> bool:
        """Whether an entry had no problem that is its own."""
        return len(values) == len(self._fields)

    def lack(self, key: int | None) -> bool:
        """Whether no entry has this id; False as long as some id could not be read, and might have been it."""
        return key is not None and key not in self._ids and not self._nameless


def read_entries(path: Path, exact: bool = False) -> dict[str, list[dict[str, Any]]]:
    """A json's images, annotations and categories; that each is a list of objects is all that is checked.

    exact: as they stand there; else numbers as ``read_json_file`` has them, and only fields that anything reads.

    Raises: DataError.
    """
    document = read_json_file(path, "the annotation file", REMEDY, keep=None if exact else _KEYS, exact=exact)
    what = None
    if not isinstance(document, dict):
        what = f"it is {shown(document)}, not an object"
    else:
        if isinstance(document, Repeated) and (twice := [key for key in FIELDS if key in document.twice]):
            what = f"{', '.join(twice)} given twice"
        for kind in FIELDS:
            what = what or _no_list(kind, document.get(kind, ABSENT))
    if what is not None:
        raise DataError(f"the json is not COCO's: {what}", where=str(path), remedy=REMEDY)
    return {kind: document[kind] for kind in FIELDS}


def _no_list(kind: str, entries: object) -> str | None:
    """What is wrong with a value that should be a list of objects."""
    if not isinstance(entries, list):
        return f"{kind} is {shown(entries)}, not a list of objects"
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            return f"{kind}[{place}] is {shown(entry)}, not an object"
    return None
