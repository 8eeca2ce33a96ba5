"""Batches in an order that depends on seed and epoch alone."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import DataError, ImageError
from ..termination import leave_to_parent
from .batch import Batch
from .collate import collate
from .dataset import CocoDataset, Item

PATIENCE = 1800
"""Seconds that worker processes may take for a batch: slow storage has its time, and storage that hangs an end."""
SLICE = 5
"""Seconds after which is seen whether they still live. They are counted by these: time that all are stopped is none."""


class EpochBatches(Sampler[list[int]]):
    """Batches of item numbers: a permutation by (seed, epoch) for training, in order for evaluation.

    The last batch may be smaller. ``set_epoch`` reaches the dataset too, so that order and transforms agree.

    part: (rank, processes) that share the images: in training every batch, a stretch of it each; in evaluation the
        batches, in turn.
    """

    def __init__(self, dataset: CocoDataset, batch_size: int, shuffle: bool, part: tuple[int, int] = (0, 1)) -> None:
        self.part = part
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.first = 0
        self._ordered: tuple[int, list[int]] = (-1, [])

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """Choose the epoch, and the number of the batch that it begins with."""
        self.dataset.set_epoch(epoch)
        self.first = first

    def order(self) -> list[int]:
        """Item numbers of the current epoch."""
        count = len(self.dataset)
        if not self.shuffle:
            return list(range(count))
        # Items draw from (seed, epoch, number); numpy ignores trailing zeros, so the 1 keeps this stream apart.
        rng = np.random.default_rng((self.dataset.seed, self.dataset.epoch, 0, 1))
        return [int(number) for number in rng.permutation(count)]

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers():
            own = self._own(number)
            yield own or self._whole(number)[:1]

    def numbers(self) -> Iterator[int]:
        """Of the batches that this process has a part of, from 0."""
        rank, processes = self.part
        last = -(-len(self.dataset) // self.batch_size)
        return iter(range(self.first, last) if self.shuffle else range(self.first + rank, last, processes))

    def is_idle(self, number: int) -> bool:
        """Whether a batch has no image for this process, which is then given one that counts for nothing."""
        return not self._own(number)

    def _whole(self, number: int) -> list[int]:
        start = number * self.batch_size
        if self._ordered[0] != self.dataset.epoch:
            self._ordered = self.dataset.epoch, self.order()
        return self._ordered[1][start : start + self.batch_size]

    def _own(self, number: int) -> list[int]:
        whole, (rank, processes) = self._whole(number), self.part
        if not self.shuffle:
            return whole
        return whole[len(whole) * rank // processes : len(whole) * (rank + 1) // processes]

    def __len__(self) -> int:
        """Batches of a whole epoch that this process has a part of."""
        rank, processes = self.part
        every = -(-len(self.dataset) // self.batch_size)
        return every if self.shuffle else len(range(rank, every, processes))


class Carried(Dataset[Item | DataError]):
    """A dataset whose errors are values: torch would turn what a worker raises into a text with a traceback."""

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Item | DataError:
        try:
            return self.dataset[number]
        except DataError as error:
            return error


def _collate(items: Sequence[Item | DataError], mask: bool) -> Batch | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    try:
        return collate([item for item in items if not isinstance(item, DataError)], mask)
    except DataError as error:
        return error


class BatchLoader(DataLoader[Item | DataError]):
    """A DataLoader that yields :class:`Batch`. ``set_epoch(e, k)`` before iterating starts at batch ``k`` of an epoch.

    Raises: DataError, while iterating, for an image that cannot be read, or where a worker process was killed or hangs.
    """

    def __init__(self, dataset: CocoDataset, batches: EpochBatches, mask: bool, workers: int) -> None:
        # Workers are started anew each epoch: kept ones would hold a dataset with the old epoch.
        # An own generator keeps the loader from drawing on torch's global one.
        super().__init__(
            Carried(dataset),
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=partial(_collate, mask=mask),
            generator=torch.Generator(),
            timeout=min(SLICE, PATIENCE) if workers else 0,
            worker_init_fn=_begin,
        )
        self.batches = batches

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.batches.set_epoch(epoch, first)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch declares its own class of iterators
        batches = super().__iter__()
        for number in self.batches.numbers():
            batch = self._next(batches)
            if isinstance(batch, DataError):
                raise batch
            yield replace(batch, idle=True) if self.batches.is_idle(number) else batch

    def _next(self, batches: Iterator[Batch | DataError]) -> Batch | DataError:
        """The next batch. Raises: ImageError: a worker was killed, or all of them gave nothing for ``PATIENCE``."""
        for _ in range(-(-PATIENCE // SLICE)):
            try:
                return next(batches)
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise _killed(error) from error
        raise ImageError(
            f"processes that read images have given none for {PATIENCE} s",
            where="data.workers",
            remedy="see whether the images' storage answers",
        )


def _begin(worker: int) -> None:
    """In a worker. What it has of its parent's is left alone: a look for cycles would write to, and so copy, all."""
    gc.freeze()
    leave_to_parent(worker)
    sys.excepthook = _unless_parent_is_gone


def _unless_parent_is_gone(kind: type[BaseException], error: BaseException, traceback: TracebackType | None, /) -> None:
    """In a worker only the thread that hands tensors over ends here: a parent that left amid it says itself why."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, traceback)


def _killed(error: RuntimeError) -> Exception:
    """What torch says of a worker that is gone, as a word for the user; other errors as they are."""
    if not str(error).startswith("DataLoader worker"):
        return error
    time.sleep(0.2)  # a signal to the whole group of processes may have reached the worker first, and raises here
    return ImageError(
        "a process that reads images was killed, as the system does where memory runs out",
        where="data.workers",
        remedy="set data.workers lower, 0 for none",
    )


def build_loader(
    dataset: CocoDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    part: tuple[int, int] = (0, 1),
) -> BatchLoader:
    """Batches of a dataset, padded with a mask where the dataset's input asks for one.

    shuffle: True for training: a permutation by the dataset's seed and epoch, whatever ``workers`` is.
    part: (rank, processes) that share the images, as :class:`EpochBatches` has it.
    """
    return BatchLoader(dataset, EpochBatches(dataset, batch_size, shuffle, part), bool(dataset.inputs.mask), workers)
