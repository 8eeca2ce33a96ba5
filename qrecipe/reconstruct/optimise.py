"""Optimises one block: its weights' rounding, its activations' ranges and its biases, against the real block's output.

Source: Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", ICLR 2021,
arXiv 2102.05426, algorithm 1. The error is relative: the squared distance of each output over its own energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..quantizers import Quantizer, step_in_coordinates
from .dropping import DroppedQuantization, mixed
from .rounding import LearnedRounding
from .segments import Segment, Values, is_compared
from .weights import Weight, put

LR_ROUNDING = 5e-2
LR_RANGES = 2e-3
"""Of activations' ranges, in the coordinates in which training steps them: shares of the scale and of one level."""
LR_BIASES = 1e-2
"""Of a bias, relative to its size."""
DECIDING = 1.0
"""Weight of the penalty on undecided weights, in units of the error at the start."""


@dataclass(frozen=True)
class Pair:
    """One batch at a block: what the real model's block reads and writes, and what the student's reads."""

    real: Values
    quantized: Values
    target: Values


@dataclass(frozen=True)
class ReconstructSettings:
    """iterations: steps per block, or 0. keep: probability of quantized values (QDrop). seed: of this block."""

    iterations: int
    keep: float
    seed: int


@dataclass(frozen=True)
class Learned:
    """What a block may change beside its activations' ranges.

    weights: by their quantizer's path; their rounding is learned. biases: by their path, as they are.
    """

    weights: Mapping[str, Weight]
    biases: Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class Outcome:
    """Relative squared error of the block's outputs before and after; after is never more than before."""

    before: float
    after: float


def optimise(
    root: nn.Module,
    segment: Segment,
    pairs: Sequence[Pair],
    learned: Learned,
    settings: ReconstructSettings,
    at_once: Callable[[], None],
) -> Outcome:
    """Improve one block in place, by learning or, without steps, at once; what did not help is taken back.

    Args:
        root: the student, quantizers on. learned: of the block, what no earlier block has learned.
        at_once: changes in place what ``learned`` has. In front of learning it cost AP at 8-8-8 and 4-4-8.
    """
    energy = _energies(pairs)
    before = _error(root, segment, pairs, energy)
    ranges = _ranges(root, segment)
    if before == 0 or not (learned.weights or ranges):
        return Outcome(before, before)
    saved = [(value, value.detach().clone()) for value in _changing(ranges.values(), learned)]
    if settings.iterations:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            _learn(root, segment, pairs, learned, ranges, settings, energy, before)
    else:
        at_once()
    after = _error(root, segment, pairs, energy)
    if not after < before:
        with torch.no_grad():
            for value, old in saved:
                value.copy_(old)
        return Outcome(before, before)
    return Outcome(before, after)


def _learn(
    root: nn.Module,
    segment: Segment,
    pairs: Sequence[Pair],
    learned: Learned,
    ranges: Mapping[str, Quantizer],
    settings: ReconstructSettings,
    energy: Mapping[str, float],
    start: float,
) -> None:
    roundings = {
        path: LearnedRounding(_quantizer(root, path), weight.value()) for path, weight in learned.weights.items()
    }
    dropped = {path: DroppedQuantization(quantizer, settings.keep) for path, quantizer in ranges.items()}
    steps = [step for quantizer in ranges.values() for step in quantizer.steps()]
    optimizer = torch.optim.Adam(
        [
            {"params": [one.position for one in roundings.values()], "lr": LR_ROUNDING},
            {"params": [value for step in steps for value in step.parameters], "lr": LR_RANGES},
            *({"params": [bias], "lr": LR_BIASES * _size(bias)} for bias in learned.biases.values()),
        ]
    )
    step_in_coordinates(optimizer, steps)
    moving = [value for group in optimizer.param_groups for value in group["params"]]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.iterations)
    with _in_place(root, {**roundings, **dropped}), _learning(root, moving):
        for iteration in range(settings.iterations):
            pair = pairs[int(torch.randint(len(pairs), ()))]
            loss = _distance(segment.run(root, _mixed(pair, settings.keep)), pair.target, energy)
            if roundings:
                progress = iteration / settings.iterations
                penalties = torch.stack([one.penalty(progress) for one in roundings.values()])
                loss = loss + DECIDING * start * penalties.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    for path, rounding in roundings.items():
        put(learned.weights[path], rounding.rounded())


def _mixed(pair: Pair, keep: float) -> Values:
    """The block's inputs, those of the student and of the real model at random."""
    return {
        name: mixed(value, pair.real[name], keep) if is_compared(value) and value is not pair.real[name] else value
        for name, value in pair.quantized.items()
    }


def _distance(written: Values, target: Values, energy: Mapping[str, float]) -> Tensor:
    parts = [(written[name] - target[name]).square().mean() / energy[name] for name in energy]
    return torch.stack(parts).mean()


@torch.no_grad()
def _error(root: nn.Module, segment: Segment, pairs: Sequence[Pair], energy: Mapping[str, float]) -> float:
    if not energy:
        return 0.0
    return float(sum(_distance(segment.run(root, pair.quantized), pair.target, energy) for pair in pairs)) / len(pairs)


def _energies(pairs: Sequence[Pair]) -> dict[str, float]:
    """The mean square of each output that is compared, over all batches; constants and zeros are not compared."""
    names = [name for name, value in pairs[0].target.items() if is_compared(value)]
    means = {name: sum(float(pair.target[name].square().mean()) for pair in pairs) / len(pairs) for name in names}
    return {name: value for name, value in means.items() if 0 < value < float("inf")}


def _ranges(root: nn.Module, segment: Segment) -> dict[str, Quantizer]:
    """The quantizers of a block's activations, by their path."""
    found = {path: root.get_submodule(path) for path in segment.calls}
    return {
        path: module for path, module in found.items() if isinstance(module, Quantizer) and not module.operand.is_weight
    }


def _quantizer(root: nn.Module, path: str) -> Quantizer:
    module = root.get_submodule(path)
    assert isinstance(module, Quantizer)
    return module


def _changing(ranges: Iterable[Quantizer], learned: Learned) -> list[Tensor]:
    parts = [value for quantizer in ranges for step in quantizer.steps() for value in step.parameters]
    return [*parts, *learned.biases.values(), *(weight.parameter for weight in learned.weights.values())]


def _size(bias: Tensor) -> float:
    """The root of a bias's mean square; that of all of them is some tenths where one is zero."""
    size = float(bias.detach().square().mean().sqrt())
    return size if size > 0 else 0.1


@contextmanager
def _in_place(root: nn.Module, stand_ins: Mapping[str, nn.Module]) -> Iterator[None]:
    """Modules under the paths of others, which come back afterwards."""
    before = {path: root.get_submodule(path) for path in stand_ins}
    try:
        for path, module in stand_ins.items():
            root.set_submodule(path, module)
        yield
    finally:
        for path, module in before.items():
            root.set_submodule(path, module)


@contextmanager
def _learning(root: nn.Module, learned: Sequence[Tensor]) -> Iterator[None]:
    """Only some tensors require gradients meanwhile."""
    before = [(parameter, parameter.requires_grad) for parameter in root.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(False)
        for value in learned:
            value.requires_grad_(True)
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(needed)
            parameter.grad = None
