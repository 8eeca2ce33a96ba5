"""One epoch: forward and backward of a step's batches, the step, and stopping before one that would ruin weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.batch import Batch
from ..errors import TrainError
from ..out_of_memory import enough_memory
from ..processes import Whole, count, gathered, share_gradients
from ..termination import held
from .protocols import Trainable


@dataclass
class Averages:
    """Means over the steps of an epoch. grad_norm: before clipping."""

    steps: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def add(self, loss: float, parts: dict[str, float], grad_norm: float) -> None:
        """Take one step in. A part that a step lacks counts as 0 there."""
        self.steps += 1
        for name in parts:
            self.parts.setdefault(name, 0.0)
        self.parts = {name: _mean(old, parts.get(name, 0.0), self.steps) for name, old in self.parts.items()}
        self.loss = _mean(self.loss, loss, self.steps)
        self.grad_norm = _mean(self.grad_norm, grad_norm, self.steps)


def _mean(before: float, value: float, count: int) -> float:
    return before + (value - before) / count


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """torch's seed for an epoch and a process: well apart for any two (seed, epoch, rank)."""
    text = f"{seed}/{epoch}/{rank}" if rank else f"{seed}/{epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def train_epoch(
    trainable: Trainable[nn.Module],
    batches: Iterable[Batch],
    optimizer: Optimizer,
    named: Sequence[tuple[str, nn.Parameter]],
    accelerator: Accelerator,
    *,
    epoch: int,
    accumulate: int = 1,
    clip_norm: float | None,
    rate: Callable[[int], float],
    over: Callable[[int], float],
    on_step: Callable[[int, float, dict[str, float]], None],
    averages: Averages,
    smaller: str = "make the batch smaller",
) -> None:
    """Train on each batch once. A signal to end waits until the step that is being taken is whole.

    Args:
        named: the parameters that are trained. epoch: from 1, for messages. accumulate: batches of a step; the last
            step of the epoch has those that are left.
        rate: what the learning rates are multiplied by, by the step in this epoch, from 0.
        over: the share of all training that is over, likewise.
        on_step: called with the step from 1, the loss and its parts.
        averages: of the steps of this epoch that an earlier start took; these are added.
        smaller: what to do where memory runs out.

    Raises:
        TrainError: the loss or a gradient is not finite; it names the images. The step is not taken.
        OutOfMemoryError: in a forward or backward pass. The step is not taken.
        DataError: a batch cannot be read, between two steps.
        Terminated: between two steps, of which ``averages`` has the first.
    """
    for step, parts in enumerate(in_steps(batches, accumulate), start=averages.steps + 1):
        with held():
            trainable.set_progress(over(step - 1))
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate(step - 1)
            at = f"epoch {epoch}, step {step}"
            figures = _step(trainable, parts, optimizer, named, accelerator, clip_norm, at, smaller)
            averages.add(*figures)
            on_step(step, figures[0], figures[1])
    optimizer.zero_grad(set_to_none=True)


def in_steps(batches: Iterable[Batch], accumulate: int) -> Iterator[list[Batch]]:
    """The batches of each step, of this process. One that is a part of a step knows of the others, all processes'."""
    left = iter(batches)
    while parts := list(islice(left, accumulate)):
        wholes = _wholes(gathered([_objects(batch) for batch in parts]))
        yield [replace(batch, whole=whole) for batch, whole in zip(parts, wholes, strict=True)]


def _objects(batch: Batch) -> list[int]:
    """How many each image has."""
    if batch.idle:
        return []
    return [len(label.get("class_labels", ())) for label in batch.labels] or [0] * len(batch)


def _wholes(objects: Sequence[Sequence[Sequence[int]]]) -> list[Whole | None]:
    """Of each part of a step, from the numbers of objects by process, part and image."""
    parts = [[number for own in objects for number in own[index]] for index in range(len(objects[0]))]
    if len(objects) * len(parts) == 1:
        return [None]
    every = tuple(number for part in parts for number in part)
    return [Whole(every, len(objects) * len(parts), len(part) * len(parts) / len(every)) for part in parts]


def _step(
    trainable: Trainable[nn.Module],
    batches: Sequence[Batch],
    optimizer: Optimizer,
    named: Sequence[tuple[str, nn.Parameter]],
    accelerator: Accelerator,
    clip_norm: float | None,
    at: str,
    smaller: str,
) -> tuple[float, dict[str, float], float]:
    """Take one step: the loss, its parts, and the gradient's norm before clipping."""
    parameters = [parameter for _, parameter in named]
    optimizer.zero_grad(set_to_none=True)
    losses = []
    for batch in batches:
        where = _where(at, batch.image_ids)
        with enough_memory(where, smaller):
            losses.append(_backward(trainable, batch, len(batches), accelerator, where))
    share_gradients(parameters)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).to(accelerator.device)
    # One transfer per step for all figures.
    figures = iter(torch.stack([_figure(norm), *(_figure(v) for found in losses for v in found.values())]).tolist())
    grad_norm = next(figures)
    values = [{name: next(figures) for name in found} for found in losses]
    own = [(batch.image_ids, found) for batch, found in zip(batches, values, strict=True) if not batch.idle]
    every = [entry for entries in gathered(own) for entry in entries]
    for image_ids, found in every:
        _check_finite(found, _where(at, image_ids))
    if not math.isfinite(grad_norm):
        raise TrainError(
            _gradient_report(named, grad_norm),
            where=_where(at, [image for ids, _ in every for image in ids]),
            remedy=_REMEDY,
        )
    if clip_norm is not None:  # after the check: a norm that is not finite would spread to every gradient
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    optimizer.step()
    whole, names = len(batches) * count(), dict.fromkeys(name for _, found in every for name in found)
    parts = {name: sum(found.get(name, 0.0) for _, found in every) / whole for name in names}
    return parts.pop(_LOSS), parts, grad_norm


def _backward(
    trainable: Trainable[nn.Module], batch: Batch, parts: int, accelerator: Accelerator, where: str
) -> dict[str, Tensor]:
    """Add the gradients of a step's part; its loss, and the parts of that."""
    batch = batch.to(accelerator.device)
    try:
        with accelerator.autocast():
            loss, named = trainable(batch)
    except TrainError as error:
        inner = f"{error.where}: {error.what}" if error.where else error.what
        raise TrainError(inner, where=where, remedy=error.remedy or _REMEDY) from error
    if not loss.requires_grad:
        raise TrainError("no gradient reaches anything that is to be learned", where=where, remedy=UNREACHED)
    if batch.idle:
        loss = loss * 0.0
    accelerator.backward(loss if parts == 1 else loss / parts)
    return {_LOSS: loss, **named}


def _where(at: str, image_ids: Iterable[int]) -> str:
    return f"{at}, images {', '.join(map(str, image_ids))}"


def _check_finite(found: dict[str, float], where: str) -> None:
    value = found[_LOSS]
    if not math.isfinite(value):
        bad = [f"{name} ({part})" for name, part in found.items() if name != _LOSS and not math.isfinite(part)]
        raise TrainError(
            f"the loss is not finite ({value})" + (f"; its bad parts: {', '.join(bad)}" if bad else ""),
            where=where,
            remedy=_REMEDY,
        )


_LOSS = ""
"""The key of a loss among its parts."""
UNREACHED = "does forward run under torch.no_grad, or detach what it returns? train.epochs: 0 calibrates alone"
_REMEDY = (
    "no step was taken; look at these images and their boxes, and go on with --resume --accept-changes once they are "
    "mended; or begin another run with a lower learning rate"
)


def _gradient_report(named: Sequence[tuple[str, nn.Parameter]], norm: float, shown: int = 5) -> str:
    bad = [name for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
    more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
    return f"the gradients are not finite (norm {norm}): {', '.join(bad[:shown])}{more}"


def _figure(value: Tensor) -> Tensor:
    return value.detach().float().reshape(())
