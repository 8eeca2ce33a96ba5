"""Where a training begins: at its first epoch, or after the last one that a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import RunError, TrainError
from ..processes import count, gathered, rank
from ..recipe.definition import TrainSpec
from ..run.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, manifest_of, take_weights
from ..run.folder import differences
from ..run.free_keys import comparable
from ..run.kept import earlier, offering_earlier
from .epoch import Averages
from .followers import Followers
from .optimizer import ParameterGroup
from .own_values import unlike_first
from .protocols import Trainable

_SWITCHES = ("checkpointing", "ema", "dampen", "freeze_oscillating")
_LATER = (*_SWITCHES, "accumulate", "patience", "keep", "limit", "trackers")
"""Keys that ``train`` has got since checkpoints were first written."""


def trained_parameters(trainable: Trainable[nn.Module]) -> list[tuple[str, nn.Parameter]]:
    """The parameters that require gradients: the student's by their names in it, then others by theirs in the whole."""
    return [
        (name, parameter)
        for name, parameter in [*trainable.student.named_parameters(), *_outside(trainable)]
        if parameter.requires_grad
    ]


def _outside(trainable: Trainable[nn.Module]) -> list[tuple[str, nn.Parameter]]:
    inside = {id(parameter) for parameter in trainable.student.parameters()}
    return [(n, p) for n, p in trainable.named_parameters() if p.requires_grad and id(p) not in inside]


def fit_settings(spec: TrainSpec, seed: int, steps_per_epoch: int) -> dict[str, Any]:
    """What must not change between the parts of one training, as plain data."""
    usual, train = asdict(TrainSpec()), asdict(spec)
    for name in _LATER:
        if train[name] == usual[name]:  # as of a checkpoint of before there was this key
            del train[name]
    for stage in train["stages"]:
        if stage["bits"] is None:
            del stage["bits"]
    settings = {"train": train, "seed": seed, "steps_per_epoch": steps_per_epoch}
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


@dataclass(frozen=True)
class Begun:
    """An epoch that was ended between two of its steps. averages: of the steps that were taken, which took
    ``seconds``. random: by process, states of torch's generators, the CPU's first. own: by process, what it has of its
    own (``Followers.own_values``) and not as the first one has it, which is the checkpoint's."""

    averages: Averages
    seconds: float
    random: tuple[tuple[Tensor, ...], ...]
    own: tuple[Mapping[str, Tensor], ...]

    @classmethod
    def now(cls, averages: Averages, seconds: float, followers: Followers) -> Begun:
        """Every process must call it."""
        random = (torch.get_rng_state(), *torch.cuda.get_rng_state_all())
        return cls(averages, seconds, tuple(gathered(random)), tuple(unlike_first(followers.own_values())))

    def restore(self, followers: Followers) -> None:
        """Go on where it was ended, behind the checkpoint's state; generators of devices that are gone are left out.

        As another number of processes all have the first one's values, and draw as at an epoch's beginning.
        """
        if len(self.random) != count():
            return
        random = self.random[rank()]
        torch.set_rng_state(random[0])
        for device, state in enumerate(random[1 : 1 + torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)
        if self.own:
            followers.restore_own(self.own[rank()])

    def to_dict(self) -> dict[str, Any]:
        return {
            "averages": asdict(self.averages),
            "seconds": self.seconds,
            "random": [list(states) for states in self.random],
            "own": [dict(values) for values in self.own],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Begun:
        random = data["random"]
        if isinstance(random[0], Tensor):  # as it was written before there were several processes
            random = [random]
        own = tuple(data.get("own", ()))  # absent where it was written before it was kept
        return cls(Averages(**data["averages"]), data["seconds"], tuple(tuple(states) for states in random), own)


def kept_best(folder: Path, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The epoch and AP of a training's best, as its checkpoint has them; None where that is of another training."""
    manifest = manifest_of(folder)
    if manifest is None or _changed(manifest["extra"], settings):
        return None
    best: Mapping[str, Any] | None = manifest["best"]
    return best


def _changed(extra: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """How a checkpoint's training differs from one with these settings, line by line."""
    return list(differences(*comparable(extra.get("fit") or {}, settings)))


def training_state(
    trainable: Trainable[nn.Module],
    optimizer: Optimizer,
    groups: Sequence[ParameterGroup],
    step: int,
    followers: Followers,
    begun: Begun | None = None,
) -> dict[str, Any]:
    """What a checkpoint keeps beside the student: the optimizer, and trained parameters outside the student.

    The schedule is a function of ``step``; nothing else of it needs to be kept. begun: of an epoch that is not whole.
    """
    return {
        **followers.state(),
        "begun": None if begun is None else begun.to_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"step": step},
        "groups": {group.name: list(group.names) for group in groups},
        "outside": {name: parameter.detach() for name, parameter in _outside(trainable)},
    }


def check_unstarted(last: Path) -> None:
    """Raises: RunError: there is a checkpoint already."""
    if has_checkpoint(last):
        raise RunError(
            "there is a checkpoint of an earlier training, and it is not overwritten",
            where=str(last),
            remedy="use --resume to continue it, or another --output",
        )


def resume_from(
    last: Path,
    trainable: Trainable[nn.Module],
    optimizer: Optimizer,
    groups: Sequence[ParameterGroup],
    settings: Mapping[str, Any],
    followers: Followers,
) -> Checkpoint | None:
    """Put the checkpoint's state into student, optimizer and the rest; None where there is no checkpoint yet.

    Raises:
        TrainError: it is damaged, of another model, or of a training with other settings. Where an earlier one is
            whole, the error names it.
    """
    if not has_checkpoint(last) and not earlier(last):
        return None
    with offering_earlier(last):
        checkpoint = load_checkpoint(last)
    take_weights(checkpoint, trainable.student, last)
    changed = _changed(checkpoint.extra, settings)
    if changed:
        raise TrainError(
            "the checkpoint is of a training with other settings:\n  " + "\n  ".join(changed),
            where=str(last),
            remedy="undo these changes, or choose another --output",
        )
    training = checkpoint.training
    if training is None:
        raise TrainError("the checkpoint holds weights only: training cannot go on from it", where=str(last))
    outside = _outside(trainable)
    names = {group.name: list(group.names) for group in groups}
    if training["groups"] != names or set(training["outside"]) != {name for name, _ in outside}:
        raise TrainError(
            "the checkpoint's optimizer is of other parameters",
            where=str(last),
            remedy="another version of qrecipe or of the model wrote it; choose another --output",
        )
    optimizer.load_state_dict(training["optimizer"])
    followers.restore(training)
    for name, parameter in outside:
        _fill(parameter, training["outside"][name], name, last)
    return checkpoint


def _fill(parameter: nn.Parameter, value: Tensor, name: str, last: Path) -> None:
    if parameter.shape != value.shape:
        raise TrainError(
            f"{name} is {tuple(value.shape)} in the checkpoint and {tuple(parameter.shape)} now", where=str(last)
        )
    parameter.data.copy_(value)
