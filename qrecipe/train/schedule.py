"""The learning rate as a function of the optimizer step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..recipe.definition import ScheduleSpec, StageSpec, TrainSpec

RISE = 0.3
"""one_cycle: the part of training that rises."""
START = 1 / 25
"""one_cycle: where it starts, as a fraction of the peak. Both as in torch's OneCycleLR."""


def stage_of(spec: TrainSpec, epoch: int) -> StageSpec:
    """The stage of an epoch, from 1. Raises: ValueError: training is shorter."""
    end = 0
    for stage in spec.stages:
        end += stage.epochs
        if epoch <= end:
            return stage
    raise ValueError(f"there is no epoch {epoch} in {spec.epochs}")


def is_candidate(spec: TrainSpec, stage: StageSpec) -> bool:
    """Whether its epochs may be the best: one that quantizes less scores higher, and is not what was asked for."""
    last = spec.stages[-1]
    return (stage.quantize, stage.bits) == (last.quantize, last.bits)


def bits_before(spec: TrainSpec, epoch: int) -> int | None:
    """The fewest bits of the stage in force before an epoch, from 1; before the first, None: the recipe's own."""
    return stage_of(spec, epoch - 1).bits if epoch > 1 else None


def lr_multiplier(spec: ScheduleSpec, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """What the learning rates of all groups are multiplied by at an optimizer step, 0 or more.

    Args:
        step: from 0 to total_steps - 1, over all stages.
        steps_per_epoch, total_steps: optimizer steps, at least 1.
    """
    warm = min(1.0, (step + 1) / spec.warmup) if spec.warmup > 0 else 1.0
    return warm * MULTIPLIERS[spec.name](spec, step, steps_per_epoch, total_steps)


def _constant(spec: ScheduleSpec, step: int, steps_per_epoch: int, total_steps: int) -> float:
    return 1.0


def _step(spec: ScheduleSpec, step: int, steps_per_epoch: int, total_steps: int) -> float:
    epoch = step // steps_per_epoch
    return float(spec.factor ** sum(epoch >= drop for drop in spec.drop_at))


def _cosine(spec: ScheduleSpec, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """From 1 at the end of the warm-up to ``final`` at the last step."""
    return _anneal(1.0, spec.final, step - spec.warmup, total_steps - 1 - spec.warmup)


def _one_cycle(spec: ScheduleSpec, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """START to 1 over the first RISE of the steps, then down to ``final`` at the last."""
    peak = RISE * total_steps - 1
    if step <= peak:
        return _anneal(START, 1.0, step, peak)
    return _anneal(1.0, spec.final, step - peak, total_steps - 1 - peak)


def _anneal(start: float, end: float, done: float, length: float) -> float:
    """Half a cosine; before it ``start``, after it ``end``."""
    part = min(1.0, max(0.0, done / length)) if length > 0 else 1.0
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


MULTIPLIERS: dict[str, Callable[[ScheduleSpec, int, int, int], float]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
"""A row per ``train.schedule.name``."""
