"""First ranges and first alignments, from data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.batch import Batch
from ..errors import CalibrationError
from ..graph.program import GraphMode
from ..placement import placement_of
from ..quantizers import Quantizer
from ..vocabulary import LOGITS
from .correct import CorrectingRun
from .smooth import MagnitudeRun, smooth
from .student import Student
from .weight_inputs import WeightInputsRun


@dataclass(frozen=True)
class CalibrationReport:
    """What calibration found.

    images: how many it saw. quantizers: how many ranges it set. corrections: how many weights' biases it corrected.
    alignments: per decoder layer the share of the query's energy that alignment changes, ``|q* - q|^2 / |q|^2``, and
        of the attention logits' energy, with the other layers as they were; None where logits are not tapped.
    """

    images: int
    quantizers: int
    alignments: dict[int, tuple[float, float | None]]
    corrections: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "quantizers": self.quantizers,
            "corrections": self.corrections,
            "alignments": {
                str(layer): {"query_error": query, "logit_error": logits}
                for layer, (query, logits) in self.alignments.items()
            },
        }


@torch.no_grad()
def calibrate(student: Student, batches: Sequence[Batch]) -> CalibrationReport:
    """Smooth, fit the alignments to the real-valued queries, then set ranges and corrected biases, alignments on.

    Both see the model real-valued, without dropout. Ranges come from the evaluation graph, which is what is deployed,
    and those of sites that only training has (auxiliary heads) from the training graph. The student is left with every
    quantizer on, in the mode it had; after an error, with the stage it had.

    Raises:
        CalibrationError: no batches, a site that saw no data, or values that are not finite.
    """
    _check_batches(batches)
    training, stage = student.training, student.quantized_roles
    try:
        student.eval()
        student.switch_off()
        _smooth(student, batches)
        _fit_alignments(student, batches)
        errors = {
            layer: (alignment.residual or 0.0, _logit_error(student, layer, batches[0]))
            for layer, alignment in student.query_alignments.items()
        }
        _observe_ranges(student, batches, list(student.quantizers))
        _correct_biases(student, batches, list(student.quantizers))
        stage = None
    finally:
        student.set_stage(stage)
        student.train(training)
    images = sum(len(batch) for batch in batches)
    return CalibrationReport(images, len(student.quantizers), errors, len(student.plan.corrections))


@torch.no_grad()
def change_bits(student: Student, fewest: int | None, batches: Sequence[Batch]) -> list[str]:
    """Give a student that is trained other bits, as ``Student.set_bits`` does, and find the ranges of these anew.

    They come from what the student is by now, real-valued, as :func:`calibrate` finds them; so do its corrected biases.
    All else stays: other ranges, alignments, the stage, the mode. Returns the quantizers that have changed.

    Raises:
        CalibrationError: as :func:`calibrate`.
    """
    changed = student.set_bits(fewest)
    if not changed:
        return []
    _check_batches(batches)
    training, stage = student.training, student.quantized_roles
    try:
        student.eval()
        student.switch_off()
        _observe_ranges(student, batches, changed)
        _correct_biases(student, batches, changed)
    finally:
        student.set_stage(stage)
        student.train(training)
    return changed


def _check_batches(batches: Sequence[Batch]) -> None:
    if not batches:
        raise CalibrationError(
            "there are no batches to calibrate with", remedy="quantize.calibration.batches must be 1 or more"
        )


def _smooth(student: Student, batches: Sequence[Batch]) -> None:
    chains, alpha = student.plan.smoothed, student.recipe.quantize.smooth
    if not chains or alpha is None:
        return
    seen = MagnitudeRun(student.deployable(), chains)
    for batch in batches:
        seen.over(inputs_of(student, batch))
    for chain in chains:
        largest = seen.largest(chain)
        if largest is not None:
            smooth(student, chain, largest, alpha)


def _fit_alignments(student: Student, batches: Sequence[Batch]) -> None:
    planned = {alignment.layer: alignment for alignment in student.plan.alignments}
    if not planned:
        return
    for alignment in student.query_alignments.values():
        alignment.reset()
        alignment.mode = "observe"
    for batch in batches:
        student.run(inputs_of(student, batch), mode="eval")
    for layer, alignment in student.query_alignments.items():
        alignment.initialise(planned[layer].init)
        alignment.mode = "off"


def _logit_error(student: Student, layer: int, batch: Batch) -> float | None:
    """How much of the attention logits' energy one layer's alignment changes on one batch."""
    name = f"{LOGITS}.{layer}"
    inputs = inputs_of(student, batch)
    before = student.run(inputs, mode="eval", taps=True).taps.get(name)
    student.query_alignments[layer].mode = "on"
    after = student.run(inputs, mode="eval", taps=True).taps.get(name)
    student.query_alignments[layer].mode = "off"
    if before is None or after is None:
        return None
    return float(_energy(after - before) / _energy(before).clamp(min=torch.finfo(torch.float64).tiny))


def _energy(value: Tensor) -> Tensor:
    return value.double().square().sum()


def _observe_ranges(student: Student, batches: Sequence[Batch], names: Sequence[str]) -> None:
    for alignment in student.query_alignments.values():
        alignment.mode = "on"
    every = student.quantizers
    quantizers = {name: every[name] for name in names}
    for quantizer in quantizers.values():
        quantizer.forget()  # what a calibration that failed has seen
    try:
        _observe(student, batches, "eval", list(quantizers))
        training_alone = _unseen(quantizers)
        if training_alone:
            _observe(student, batches, "train", training_alone)
        unseen = _unseen(quantizers)
        if unseen:
            raise CalibrationError(
                f"{len(unseen)} sites saw no data: {', '.join(unseen[:10])}",
                remedy="check the rule that quantizes them",
            )
        for quantizer in quantizers.values():
            quantizer.finish_calibration()
    finally:
        for quantizer in quantizers.values():
            quantizer.set_mode("off")


def _correct_biases(student: Student, batches: Sequence[Batch], names: Sequence[str]) -> None:
    corrections = {name: one for name, one in student.bias_corrections.items() if name in names}
    if not corrections:
        return
    correcting = CorrectingRun(student.deployable())
    for batch in batches:
        correcting.over(inputs_of(student, batch))
    found = correcting.corrections()
    for name, correction in corrections.items():
        correction.bias.copy_(found[name]) if name in found else correction.bias.zero_()


def _observe(student: Student, batches: Sequence[Batch], mode: GraphMode, names: Sequence[str]) -> None:
    """Let some quantizers see every batch in one mode."""
    observed, quantizers = set(names), student.quantizers
    for name, quantizer in quantizers.items():
        quantizer.set_mode("observe" if name in observed else "off")
    watching = mode == "eval" and any(quantizers[name].watches_inputs for name in observed)
    watched = WeightInputsRun(student.deployable()) if watching else None
    for batch in batches:
        for quantizer in quantizers.values():
            quantizer.sample_count = len(batch)
        inputs = inputs_of(student, batch, mode)
        if watched is None:
            student.run(inputs, mode=mode)
        else:
            watched.over(inputs)


def _unseen(quantizers: Mapping[str, Quantizer]) -> list[str]:
    return [name for name, quantizer in quantizers.items() if not quantizer.has_seen_data]


def inputs_of(student: Student, batch: Batch, mode: GraphMode = "eval") -> dict[str, Tensor]:
    """The inputs of one mode; what training makes of the labels is the same at every calibration."""
    placement = placement_of(student)
    moved = batch.to(placement.device)
    images = placement.move(moved.pixel_values)
    if mode == "eval":
        return student.family.inputs(images, moved.pixel_mask)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return student.family.training_inputs(images, moved.pixel_mask, moved.labels)
