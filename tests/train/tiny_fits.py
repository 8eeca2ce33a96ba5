"""A training of a few steps: how tests start it, hear of it, break it off, and compare what it leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from qrecipe.recipe.definition import OptimizerSpec, ScheduleSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.run.lines import JsonLines
from qrecipe.termination import Terminated
from qrecipe.train.events import StepTaken, TrainingEvent
from qrecipe.train.records import FitResult, Records
from qrecipe.train.trainer import Trainer
from tests.tiny_training import TinyLoader, TinyScores, TinyTrainable

SPEC = TrainSpec(
    stages=(StageSpec("backbone", 2, ("backbone.*",)), StageSpec("full", 3)),
    optimizer=OptimizerSpec(lr=1e-2),
    schedule=ScheduleSpec("one_cycle", warmup=2),
    clip_norm=1.0,
)


def scorer(*aps: float) -> Callable[[torch.nn.Module], TinyScores]:
    values = iter(aps)
    return lambda module: TinyScores(next(values))


def fit(
    trainable: TinyTrainable,
    loader: TinyLoader,
    spec: TrainSpec,
    *,
    folder: Path,
    phase: str = "train",
    metrics: JsonLines | None = None,
    extra: Mapping[str, Any] | None = None,
    resume: bool = False,
    **others: Any,
) -> FitResult:
    return Trainer(trainable, loader, spec, Records(folder, phase, metrics, extra or {}), **others).fit(resume)


def on_step(call: Callable[[StepTaken], object]) -> Callable[[TrainingEvent], None]:
    """A listener of steps alone."""

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepTaken):
            call(event)

    return listen


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


class Cut(BaseException):
    """A kill: nothing catches it."""


Ending = Literal["kill", "signal"]
ENDS: dict[str, type[BaseException]] = {"kill": Cut, "signal": Terminated}
"""What a training that is broken off so raises."""


def break_off(epoch: int, step: int, how: Ending = "signal") -> Callable[[TrainingEvent], None]:
    """A listener that ends the training at a step."""

    def end(event: StepTaken) -> None:
        if (event.epoch, event.step) == (epoch, step):
            if how == "kill":
                raise Cut
            os.kill(os.getpid(), signal.SIGTERM)

    return on_step(end)


def followed(last: Path) -> dict[str, Tensor]:
    """A checkpoint's weights, their average, and what was seen of their oscillations."""
    found = load_checkpoint(last)
    assert found.training is not None
    seen = {f"{n}.{k}": v for n, own in found.training["oscillations"].items() for k, v in own.items()}
    assert seen
    return {**found.weights, **{f"mean.{k}": v for k, v in found.training["average"].items()}, **seen}
