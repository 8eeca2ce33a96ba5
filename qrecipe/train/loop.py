"""The training loop: stages, epochs, evaluation, checkpoints, and going on where a run was cut off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..errors import TrainError
from ..recipe.definition import StageSpec, TrainSpec
from ..run.checkpoint import Checkpoint, save_checkpoint
from ..run.files import writing
from ..run.layout import BEST, LAST, METRICS
from ..run.lines import JsonLines
from .denormals import flushed_denormals
from .epoch import epoch_seed, train_epoch
from .optimizer import ParameterGroup, build_optimizer
from .protocols import Loader, Progress, Scores, Trainable, Watcher
from .resume import begin, fit_settings, resume_from, trained_parameters, training_state
from .schedule import lr_multiplier


@dataclass(frozen=True)
class FitResult:
    """What training came to.

    best_epoch, best_ap: from 1, and its AP; None where nothing could be compared. history: the records of all epochs.
    groups: what the optimizer trained. checkpoint: the best one, or the last where nothing could be compared; None
    where there were no epochs.
    """

    best_epoch: int | None
    best_ap: float | None
    history: tuple[Mapping[str, Any], ...]
    groups: tuple[ParameterGroup, ...]
    checkpoint: Path | None


def fit(
    trainable: Trainable,
    loader: Loader,
    spec: TrainSpec,
    *,
    folder: Path,
    seed: int = 0,
    evaluate: Callable[[], Scores] | None = None,
    is_backbone: Callable[[str], bool] = lambda name: False,
    watcher: Watcher | None = None,
    metrics: JsonLines | None = None,
    phase: str = "train",
    resume: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> FitResult:
    """Train ``trainable.student`` through all stages. Afterwards the student has the last epoch's weights.

    Each epoch is a function of the weights, ``seed`` and its number: torch is seeded anew, the loader told the epoch.
    On a CPU a resumed training ends with the very weights of one that was never cut off, and denormals are flushed.

    Args:
        folder: for the checkpoints ``last`` (all that training needs) and ``best`` (weights only). Best is the first
            epoch of the highest AP among those that quantize what the last stage quantizes.
        evaluate: scores the student on the validation split, every ``spec.evaluate_every`` epochs and after the last.
        is_backbone: by a parameter's name in the student.
        metrics: gets a line per epoch, marked with ``phase``; ``metrics.jsonl`` in ``folder`` by default.
        resume: go on from ``last``; where there is none, begin.
        extra: plain data for the manifests, the recipe for one.

    Raises:
        TrainError: a loss or gradient is not finite; nothing to train; the checkpoint is damaged, of another model, or
            of a training with other settings.
        RunError: there is a checkpoint and ``resume`` is False; the file system refuses to write.
    """
    steps = len(loader)
    accelerator = make_accelerator(spec.precision)
    trainable.to(accelerator.device)
    named = trained_parameters(trainable)
    optimizer, groups = build_optimizer(named, spec.optimizer, is_backbone)
    if spec.epochs == 0:
        return FitResult(None, None, (), groups, None)
    if steps == 0:
        raise TrainError("the training split has no image")
    settings = fit_settings(spec, seed, steps)
    if not resume:
        begin(folder / LAST)
    start = resume_from(folder / LAST, trainable, optimizer, groups, settings) or Checkpoint({})
    best = dict(start.best) if start.best else None
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    metrics = metrics or JsonLines(folder / METRICS)
    history = [line for line in metrics.keep(partial(_is_done, phase, start.epoch)) if line.get("phase") == phase]
    watcher = watcher or Watcher()
    if watcher.on_start:
        watcher.on_start(groups)
    clock = _Clock(spec, steps, start.epoch)
    with flushed_denormals() if accelerator.device.type == "cpu" else nullcontext():
        for epoch in range(start.epoch + 1, spec.epochs + 1):
            stage = stage_of(spec, epoch)
            trainable.set_stage(stage.quantize)
            trainable.train()
            torch.manual_seed(epoch_seed(seed, epoch))
            loader.set_epoch(epoch)
            began = time.perf_counter()
            averages = train_epoch(
                trainable,
                loader,
                optimizer,
                named,
                accelerator,
                epoch=epoch,
                clip_norm=spec.clip_norm,
                rate=partial(_rate, spec, steps, (epoch - 1) * steps),
                on_step=partial(_tell, watcher, clock, stage, epoch, optimizer),
            )
            trained = time.perf_counter()
            scores = None
            if evaluate and (epoch % spec.evaluate_every == 0 or epoch == spec.epochs):
                trainable.train(False)
                with torch.no_grad():
                    scores = evaluate().to_dict()
            is_best = scores is not None and _is_candidate(spec, stage) and _is_better(scores["AP"], best)
            if scores is not None and is_best:
                best = {"epoch": epoch, "AP": scores["AP"]}
            record = {
                "phase": phase,
                "epoch": epoch,
                "stage": stage.name,
                "step": epoch * steps,
                "loss": averages.loss,
                "parts": {name: value if math.isfinite(value) else None for name, value in averages.parts.items()},
                "lr": {group["name"]: group["lr"] for group in optimizer.param_groups},
                "grad_norm": averages.grad_norm,
                "seconds": round(trained - began, 3),
                "seconds_evaluation": round(time.perf_counter() - trained, 3),
                "val": scores,
                "best": is_best,
            }
            # Metrics, best, last: what a kill leaves out here, the epoch that follows ``last`` writes again.
            metrics.append(record)
            state = Checkpoint(
                weights=trainable.student.state_dict(),
                epoch=epoch,
                step=epoch * steps,
                best=best,
                extra={**(extra or {}), "fit": settings},
                training=training_state(trainable, optimizer, groups, epoch * steps),
            )
            if is_best:
                save_checkpoint(folder / BEST, replace(state, training=None))
            save_checkpoint(folder / LAST, state)
            history.append(record)
            if watcher.on_epoch:
                watcher.on_epoch(record)
    return FitResult(
        best_epoch=best["epoch"] if best else None,
        best_ap=best["AP"] if best else None,
        history=tuple(history),
        groups=groups,
        checkpoint=folder / (BEST if best else LAST),
    )


def stage_of(spec: TrainSpec, epoch: int) -> StageSpec:
    """The stage of an epoch, from 1. Raises: ValueError: training is shorter."""
    end = 0
    for stage in spec.stages:
        end += stage.epochs
        if epoch <= end:
            return stage
    raise ValueError(f"there is no epoch {epoch} in {spec.epochs}")


def make_accelerator(precision: str) -> Accelerator:
    """Device and mixed precision, as ``accelerate`` finds them.

    Raises:
        TrainError: it was launched with several processes.
    """
    # accelerate keeps the first precision of a process and refuses another one. Its process group stays.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=precision)
    if accelerator.num_processes > 1:
        raise TrainError(
            f"{accelerator.num_processes} processes were launched, and training runs in one",
            remedy="start qrecipe without a launcher",
        )
    return accelerator


class _Clock:
    """Time left, from the time that the steps so far took, evaluations included."""

    def __init__(self, spec: TrainSpec, steps: int, finished: int) -> None:
        self.epochs, self.steps, self.finished = spec.epochs, steps, finished
        self._began = time.perf_counter()

    def seconds_left(self, epoch: int, step: int) -> float:
        done = (epoch - 1 - self.finished) * self.steps + step
        left = (self.epochs - self.finished) * self.steps - done
        return (time.perf_counter() - self._began) / done * left


def _rate(spec: TrainSpec, steps: int, before: int, step: int) -> float:
    return lr_multiplier(spec.schedule, before + step, steps, spec.epochs * steps)


def _tell(
    watcher: Watcher,
    clock: _Clock,
    stage: StageSpec,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    step: int,
    loss: float,
    parts: Mapping[str, float],
) -> None:
    if watcher.on_progress:
        lr = optimizer.param_groups[0]["lr"]
        left = clock.seconds_left(epoch, step)
        watcher.on_progress(Progress(stage.name, epoch, clock.epochs, step, clock.steps, loss, parts, lr, left))


def _is_done(phase: str, finished: int, line: Mapping[str, Any]) -> bool:
    return line.get("phase") != phase or line["epoch"] <= finished


def _is_candidate(spec: TrainSpec, stage: StageSpec) -> bool:
    """An earlier stage that quantizes less scores higher, and is not what was asked for."""
    return stage.quantize == spec.stages[-1].quantize


def _is_better(ap: float | None, best: Mapping[str, Any] | None) -> bool:
    return ap is not None and not math.isnan(ap) and (best is None or ap > best["AP"])
