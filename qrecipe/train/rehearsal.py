"""One training step on noise, before anything is spent on a run: what would fail in it fails now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.batch import Batch
from ..errors import TrainError
from ..placement import Placement, placement_of
from ..student import Student
from ..vocabulary import ALIGNMENTS, FAKE_QUANTIZERS
from .epoch import UNREACHED
from .module import TrainingModule

UNKNOWN_SIZE = (256, 320)
"""(height, width) where the recipe's input follows the image's own size."""


_SHOWN = 8
"""Names in a note; the rest are counted."""


@dataclass(frozen=True)
class Rehearsal:
    """loss: a detached scalar. parameters, quantizers: those that are to be learned and that no gradient reaches.

    roles: those of whose weights, where some are to be learned, none gets a gradient.
    """

    loss: Tensor
    parameters: tuple[str, ...]
    quantizers: tuple[str, ...]
    roles: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """What a user should know of it."""
        notes = []
        if self.roles:
            notes.append(f"no gradient reaches any weight of {', '.join(self.roles)}")
        if self.parameters:
            notes.append(f"no gradient reaches {_named(self.parameters, 'parameter')}: they stay as they are")
        if self.quantizers:
            notes.append(f"no gradient reaches {_named(self.quantizers, 'quantizer')}: they stay as calibrated")
        return notes


def _named(names: Sequence[str], kind: str) -> str:
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind}{'s'[: len(names) != 1]} ({', '.join(names[:_SHOWN])}{more})"


def rehearse(module: TrainingModule, batch_size: int = 2) -> Rehearsal:
    """Detection and distillation losses, forward and backward, with every quantizer and alignment off.

    One object in each image. All is left as it was but gradients, which are cleared: buffers, modes, random numbers.

    Raises:
        TrainError: predictions or loss are not finite; or no gradient reaches anything that is to be learned.
    """
    student = module.student
    training, stage = module.training, student.quantized_roles
    buffers = {name: value.clone() for name, value in student.named_buffers()}
    placement = placement_of(student)
    cards = [placement.device] if placement.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cards), _probed(student) as probes:
            torch.manual_seed(0)
            student.switch_off()
            loss: Tensor = module.train()(_noise(module, batch_size, placement))[0]
            if not loss.isfinite():
                raise TrainError("the loss of a training step on noise is not finite")
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        rehearsal = Rehearsal(loss.detach(), _without_gradient(student), _unreached(probes), _roles(student))
        _check_that_it_learns(student, rehearsal, len(probes))
        return rehearsal
    finally:
        module.zero_grad(set_to_none=True)
        module.train(training)
        student.set_stage(stage)
        with torch.no_grad():
            for name, value in student.named_buffers():
                if not torch.equal(value, buffers[name]):  # one that is expanded cannot be written into
                    value.copy_(buffers[name])


@contextmanager
def _probed(student: Student) -> Iterator[dict[str, Tensor]]:
    """By name, a zero added to what each learned quantizer returns: it gets a gradient where the quantizer would.

    While a quantizer is off its own parameters get none.
    """
    learned = {name: one for name, one in student.quantizers.items() if any(p.requires_grad for p in one.parameters())}
    probes = {name: next(one.parameters()).new_zeros(()).requires_grad_() for name, one in learned.items()}
    hooks = [
        one.register_forward_hook(lambda _module, _arguments, value, name=name: value + probes[name])
        for name, one in learned.items()
    ]
    try:
        yield probes
    finally:
        for hook in hooks:
            hook.remove()


def _check_that_it_learns(student: Student, rehearsal: Rehearsal, quantizers: int) -> None:
    learned = sum(1 for _ in _learned(student)) + quantizers
    missed = len(rehearsal.parameters) + len(rehearsal.quantizers)
    aligned = any(
        parameter.requires_grad for one in student.query_alignments.values() for parameter in one.parameters()
    )
    if missed < learned or (not learned and aligned):  # alignments are off here
        return
    if learned:
        what = f"no gradient reaches any of the {learned} parameters and quantizers that are to be learned"
        remedy = UNREACHED
    else:
        what = "there is nothing to learn: every parameter is frozen, and no quantizer has any"
        remedy = "set requires_grad where the model is built, or train.epochs: 0 to calibrate alone"
    raise TrainError(what, where="training", remedy=remedy)


def _learned(student: Student) -> Iterator[tuple[str, Tensor]]:
    """The model's own parameters that are to be learned. Quantizers and alignments are off."""
    added = (f"{FAKE_QUANTIZERS}.", f"{ALIGNMENTS}.")
    for name, value in student.named_parameters():
        if value.requires_grad and not name.startswith(added):
            yield name, value


def _without_gradient(student: Student) -> tuple[str, ...]:
    return tuple(name for name, value in _learned(student) if value.grad is None)


def _roles(student: Student) -> tuple[str, ...]:
    reached: dict[str, bool] = {}
    learned = dict(_learned(student))
    for name, site in student.plan.sites.items():
        weight = learned.get(name.partition("[")[0]) if site.kind == "weight" else None
        if weight is not None:
            reached[site.role] = reached.get(site.role, False) or weight.grad is not None
    return tuple(role for role, any_of_it in reached.items() if not any_of_it)


def _unreached(probes: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(name for name, probe in probes.items() if probe.grad is None)


def _noise(module: TrainingModule, batch_size: int, placement: Placement) -> Batch:
    height, width = module.student.input.size or UNKNOWN_SIZE
    device = placement.device
    images = torch.rand(batch_size, 3, height, width, dtype=placement.dtype, device=device)
    mask = torch.ones(batch_size, height, width, dtype=torch.int64, device=device)
    box = images.new_tensor([[0.5, 0.5, 0.4, 0.3]])
    label = {"class_labels": torch.zeros(1, dtype=torch.int64, device=device), "boxes": box}
    sizes = torch.tensor([[height, width]] * batch_size)
    return Batch(images, mask, [dict(label) for _ in range(batch_size)], list(range(batch_size)), sizes)
