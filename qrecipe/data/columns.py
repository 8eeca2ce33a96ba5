"""Images and boxes of a split as sequences of records that lie in a few arrays.

Processes that read images are forks, which share memory until it is written to, and Python writes to an object whenever
it is looked at. A million records would be copied into each of them; arrays are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: its file, and the size in pixels that both json and file give."""

    id: int
    path: Path
    width: int
    height: int
    file_name: str


@dataclass(frozen=True, slots=True)
class Box:
    """A training target: corners x0, y0, x1, y1 in pixels, inside the image and with an area."""

    annotation_id: int
    category_id: int
    xyxy: tuple[float, float, float, float]


class Images(Sequence[ImageRecord]):
    """Images, made when they are looked at.

    Args:
        folder: that their file names start from. entries: id, file name, width, height of each.
    """

    def __init__(self, folder: Path, entries: Iterable[tuple[int, str, int, int]]) -> None:
        own = list(entries)
        names = [name.encode("utf-8", "surrogatepass") for _, name, _, _ in own]
        self.folder = folder
        self._numbers = np.array([(key, width, height) for key, _, width, height in own], np.int64).reshape(-1, 3)
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._ends = np.cumsum([0, *map(len, names)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[ImageRecord, ...]: ...

    def __getitem__(self, place: int | slice) -> ImageRecord | tuple[ImageRecord, ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        place = range(len(self))[place]
        key, width, height = self._numbers[place].tolist()
        name = self._names[self._ends[place] : self._ends[place + 1]].tobytes().decode("utf-8", "surrogatepass")
        return ImageRecord(key, self.folder / name, width, height, name)


class Boxes(Sequence[tuple[Box, ...]]):
    """The boxes of each image, made when they are looked at.

    images: (boxes,), the place of each one's image, in any order; an image's boxes keep theirs.
    annotation_id, category_id: (boxes,). xyxy: (boxes, 4).
    """

    def __init__(
        self,
        count: int,
        images: NDArray[np.int64],
        annotation_id: NDArray[np.int64],
        category_id: NDArray[np.int64],
        xyxy: NDArray[np.float64],
    ) -> None:
        order = np.argsort(images, kind="stable")
        self.annotation_id, self.category_id, self.xyxy = annotation_id[order], category_id[order], xyxy[order]
        self.counts = np.bincount(images, minlength=count)
        self._ends = np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def total(self) -> int:
        """Boxes of all images."""
        return len(self.xyxy)

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, place: int) -> tuple[Box, ...]: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[Box, ...], ...]: ...

    def __getitem__(self, place: int | slice) -> tuple[Box, ...] | tuple[tuple[Box, ...], ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        place = range(len(self))[place]
        own = slice(self._ends[place], self._ends[place + 1])
        columns = self.annotation_id[own].tolist(), self.category_id[own].tolist(), self.xyxy[own].tolist()
        return tuple(Box(key, category, (*corners,)) for key, category, corners in zip(*columns, strict=True))
