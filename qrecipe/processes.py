"""What the processes of a run tell each other, and means over the batches of all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import ProcessError, QRecipeError

T = TypeVar("T")
_WORD, _SAID = "qrecipe/why it ended", "qrecipe/said"
_BUCKET = 1 << 25
"""Values that are summed over processes at once."""


@dataclass(frozen=True)
class Whole:
    """The optimizer step that a batch is a part of, where it is not all of it. Its loss is the mean of its parts'.

    objects: how many each image of the step has. parts: how many batches it is made of.
    share: what a mean over the images of this batch counts among its parts; 1 where all have as many.
    """

    objects: tuple[int, ...]
    parts: int
    share: float

    @property
    def boxes(self) -> float:
        """What a sum over the objects of one part is divided by, so that the step's loss is a mean over all objects."""
        return max(sum(self.objects), 1) / self.parts

    def queries(self, count: int, no_object: float) -> float:
        """The same for a sum over ``count`` queries of each image; those without an object weigh ``no_object``.

        0 where nothing has a weight.
        """
        matched = [min(objects, count) for objects in self.objects]
        return sum(own + no_object * (count - own) for own in matched) / self.parts


def global_divisor(count: Tensor) -> Tensor:
    """``max(count of all processes, 1) / processes``, a float scalar on the count's device.

    A process that divides its sum over ``count`` terms by it has the global mean once DDP has averaged over processes.
    Every process must call it.
    """
    total = count.detach().to(torch.float32, copy=True)
    processes = 1
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        processes = dist.get_world_size()
    return total.clamp(min=1) / processes


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """``total / max(count, 1)`` with the count over all processes; zero terms give zero, not NaN.

    Averaged over processes (as DDP averages gradients) this is the mean over all their terms.
    """
    return total / global_divisor(count)


def count() -> int:
    """How many processes this run has."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if count() > 1 else 0


def gathered(value: T) -> list[T]:
    """Every process's value, plain data or tensors on the CPU, by rank. Every process must call it.

    Raises: ProcessError: another one is gone.
    """
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    with _talking():
        dist.all_gather_object(found, value)
    return found


def from_first(work: Callable[[], T]) -> T:
    """What the first process's ``work`` returns, plain data; it is done there alone.

    Raises: QRecipeError: what it raises there, everywhere; ProcessError: another process is gone.
    """
    if count() == 1:
        return work()
    own: QRecipeError | None = None
    box: list[Any] = [None, None]  # errors of several problems cannot be sent: their text
    if rank() == 0:
        try:
            box[0] = work()
        except QRecipeError as error:
            own, box[1] = error, str(error)
    with _talking():
        dist.broadcast_object_list(box)
    if box[1] is not None:
        raise own or ProcessError(box[1])
    found: T = box[0]
    return found


@contextmanager
def first_ahead() -> Iterator[None]:
    """The first process goes through before the others: it makes the files that they read."""
    if count() > 1 and rank():
        gathered(None)
    try:
        yield
    finally:
        if count() > 1 and not rank():
            gathered(None)


def average(tensors: Sequence[Tensor]) -> None:
    """Put the mean over all processes into each tensor, as DDP does for gradients. Every process must call it.

    Raises: ProcessError: another one is gone.
    """
    left = list(tensors)
    while left:
        bucket = [left.pop(0)]
        while left and left[0].dtype == bucket[0].dtype and sum(t.numel() for t in bucket) < _BUCKET:
            bucket.append(left.pop(0))
        flat = torch.cat([tensor.detach().flatten() for tensor in bucket])
        with _talking():
            dist.all_reduce(flat)
        parts = torch.split(flat / count(), [tensor.numel() for tensor in bucket])
        with torch.no_grad():
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def share_gradients(parameters: Sequence[Tensor]) -> None:
    """Give every process the mean gradients. A parameter that none has a gradient of stays without.

    Raises: ProcessError: another process is gone.
    """
    if count() == 1 or not parameters:
        return
    has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=parameters[0].device)
    with _talking():
        dist.all_reduce(has, dist.ReduceOp.MAX)
    reached = [parameter for parameter, some in zip(parameters, has.tolist(), strict=True) if some]
    for parameter in reached:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    average([parameter.grad for parameter in reached if parameter.grad is not None])


def take_over(tensors: Sequence[Tensor]) -> None:
    """Give every process the first one's values. Every process must call it."""
    if count() > 1:
        for tensor in tensors:
            own = tensor.detach().contiguous().clone()
            with _talking():
                dist.broadcast(own, 0)
            if not torch.equal(own, tensor):  # a constant may be expanded, and not written into
                with torch.no_grad():
                    tensor.copy_(own)


def leave_word(text: str) -> None:
    """Before this process ends for a reason of its own: the first one says it, once it sees that this one is gone."""
    _set(_WORD, f"process {rank()} of {count()}: {text}")


def say_so() -> None:
    """The first process has said why it ends: others that wait for that may go."""
    _set(_SAID, "")


def wait_for_first(seconds: float = 10.0) -> None:
    """Until it has said why it ends: a launcher ends it as soon as it sees that another one has."""
    if count() > 1:
        try:
            dist.distributed_c10d._get_default_store().wait([_SAID], timedelta(seconds=seconds))
        except RuntimeError:
            return


def _set(key: str, text: str) -> None:
    if count() > 1:
        try:
            dist.distributed_c10d._get_default_store().set(key, text)
        except RuntimeError:
            return


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        word = _word()
        if word is not None:
            raise ProcessError(word, remedy="mend that") from error
        what = f"another of the run's {count()} processes is gone: killed, perhaps where memory ran out"
        raise ProcessError(what, remedy="see the launcher's own messages") from error


def _word(seconds: float = 2.0) -> str | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            store = dist.distributed_c10d._get_default_store()
            if store.check([_WORD]):
                return str(store.get(_WORD).decode())
        except RuntimeError:
            return None
        time.sleep(0.1)
    return None
