"""One epoch: forward, backward, step, and stopping before a step that would ruin the weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.batch import Batch
from ..errors import TrainError
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


def epoch_seed(seed: int, epoch: int) -> int:
    """torch's seed for an epoch: well apart for any two (seed, epoch)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:8]) >> 1


def train_epoch(
    trainable: Trainable[nn.Module],
    batches: Iterable[Batch],
    optimizer: Optimizer,
    named: Sequence[tuple[str, nn.Parameter]],
    accelerator: Accelerator,
    *,
    epoch: int,
    clip_norm: float | None,
    rate: Callable[[int], float],
    on_step: Callable[[int, float, dict[str, float]], None],
    averages: Averages,
) -> None:
    """Train on each batch once. A signal to end waits until the step that is being taken is whole.

    Args:
        named: the parameters that are trained. epoch: from 1, for messages.
        rate: what the learning rates are multiplied by, by the step in this epoch, from 0.
        on_step: called with the step from 1, the loss and its parts.
        averages: of the steps of this epoch that an earlier start took; these are added.

    Raises:
        TrainError: the loss or a gradient is not finite; it names the images. The step is not taken.
        Terminated: between two steps, of which ``averages`` has the first.
    """
    for step, batch in enumerate(batches, start=averages.steps + 1):
        with held():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate(step - 1)
            where = f"epoch {epoch}, step {step}, images {', '.join(map(str, batch.image_ids))}"
            value, parts, norm = _step(trainable, batch, optimizer, named, accelerator, clip_norm, where)
            averages.add(value, parts, norm)
            on_step(step, value, parts)
    optimizer.zero_grad(set_to_none=True)


def _step(
    trainable: Trainable[nn.Module],
    batch: Batch,
    optimizer: Optimizer,
    named: Sequence[tuple[str, nn.Parameter]],
    accelerator: Accelerator,
    clip_norm: float | None,
    where: str,
) -> tuple[float, dict[str, float], float]:
    """Take one step: the loss, its parts, and the gradient's norm before clipping."""
    parameters = [parameter for _, parameter in named]
    batch = batch.to(accelerator.device)
    try:
        with accelerator.autocast():
            loss, parts = trainable(batch)
    except TrainError as error:
        inner = f"{error.where}: {error.what}" if error.where else error.what
        raise TrainError(inner, where=where, remedy=_REMEDY) from error
    if not loss.requires_grad:
        raise TrainError("no gradient reaches anything that is to be learned", where=where, remedy=UNREACHED)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).to(accelerator.device)
    # One transfer per step for all figures.
    figures: list[float] = torch.stack([_figure(value) for value in (loss, norm, *parts.values())]).tolist()
    value, grad_norm = figures[:2]
    named_parts = dict(zip(parts, figures[2:], strict=True))
    if not math.isfinite(value):
        bad = [f"{name} ({part})" for name, part in named_parts.items() if not math.isfinite(part)]
        raise TrainError(
            f"the loss is not finite ({value})" + (f"; its bad parts: {', '.join(bad)}" if bad else ""),
            where=where,
            remedy=_REMEDY,
        )
    if not math.isfinite(grad_norm):
        raise TrainError(_gradient_report(named, grad_norm), where=where, remedy=_REMEDY)
    if clip_norm is not None:  # after the check: a norm that is not finite would spread to every gradient
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    optimizer.step()
    return value, named_parts, grad_norm


UNREACHED = "does forward run under torch.no_grad, or detach what it returns? train.epochs: 0 calibrates alone"
_REMEDY = "no step was taken; look at these images and their boxes, or lower the learning rate"


def _gradient_report(named: Sequence[tuple[str, nn.Parameter]], norm: float, shown: int = 5) -> str:
    bad = [name for name, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
    more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
    return f"the gradients are not finite (norm {norm}): {', '.join(bad[:shown])}{more}"


def _figure(value: Tensor) -> Tensor:
    return value.detach().float().reshape(())
