"""One module that holds student, teacher and losses: what a runner, DDP or somebody's own loop wraps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from ..detection.prediction import Prediction
from ..distill import Match, check_widths, distill_loss, global_divisor, match_queries, query_features
from ..errors import PlanError, PlanErrors, TrainError
from ..placement import fitted_labels
from ..planning import PlannedTap
from ..recipe.definition import TargetSpec
from ..student import Student

_Pair = tuple[PlannedTap, PlannedTap]


@final
class TrainingModule(nn.Module):
    """``forward(batch)`` gives the loss and its parts: detection loss + sum of weight * distillation loss (2.38).

    Args:
        student: what is trained.
        teacher: a real-valued student with the same taps; frozen, always in evaluation mode. Needed where the recipe
            has distillation targets.

    Raises:
        PlanError: the teacher is missing, lacks a tap, or a tap of it has another width.
    """

    def __init__(self, student: Student, teacher: Student | None = None) -> None:
        super().__init__()
        self.student = student
        self.targets = student.recipe.distill.targets
        self.teacher = teacher if self.targets else None
        if self.targets:
            if teacher is None:
                raise PlanError("the recipe distils, so a teacher is needed", where="distill.targets")
            self.pairs = _pairs(student, teacher, self.targets)
            teacher.requires_grad_(False)
            teacher.eval()

    def train(self, mode: bool = True) -> TrainingModule:
        """Set the student's mode; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def set_stage(self, quantize: Sequence[str] | None) -> None:
        """Quantize only the roles that match; None quantizes all."""
        self.student.set_stage(quantize)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with a graph, and its detached parts: ``detection``, its own parts, ``distill``.

        Raises:
            TrainError: the predictions are not finite, so that the matching in the detection loss fails.
        """
        student = self.student
        inputs = student.family.training_inputs(batch.pixel_values, batch.pixel_mask, batch.labels)
        outputs, extras, taps = student.run(inputs, mode="train", taps=self.teacher is not None)
        prediction = student.family.read(outputs, extras)
        try:
            if batch.whole is None:
                loss, parts = student.family.loss(outputs, extras, batch.labels)
            else:
                loss, parts = student.family.part_of_loss(outputs, extras, batch.labels, batch.whole)
        except (ValueError, TrainError) as error:  # what transformers' losses and our own matching raise on NaN
            broken = _not_finite(prediction, batch)
            if not broken:
                raise
            raise TrainError("the predictions are not finite", where=f"images {', '.join(broken)}") from error
        parts = {"detection": loss.detach(), **parts}
        if self.teacher is not None:
            distilled = self._distill(batch, prediction, taps)
            parts["distill"] = distilled.detach()
            loss = loss + distilled
        return loss, parts

    def _distill(self, batch: Batch, prediction: Prediction, taps: dict[str, Tensor]) -> Tensor:
        teacher = self.teacher
        assert teacher is not None
        with torch.no_grad():
            inputs = teacher.family.inputs(batch.pixel_values, batch.pixel_mask)
            outputs, extras, theirs = teacher.run(inputs, mode="eval", taps=True)
            teacher_boxes = teacher.family.read(outputs, extras).boxes
        truth = [label["boxes"] for label in fitted_labels(batch.labels, teacher_boxes)]
        matches: dict[Any, tuple[Match, Tensor]] = {}  # made once, with the final boxes, for all layers
        share = 1.0 if batch.whole is None else batch.whole.share
        total = prediction.boxes.new_zeros(())
        for target, pairs in zip(self.targets, self.pairs, strict=True):
            if target.match not in matches:
                match = match_queries(target.match, prediction.boxes, teacher_boxes, truth)
                matches[target.match] = match, global_divisor(match.keep.sum() * (not batch.idle))
            match, kept = matches[target.match]
            for mine, his in pairs:
                # Denoising queries stand before those that predict; the teacher, in evaluation, has none.
                own = query_features(taps[mine.name], mine.layout)[:, -prediction.boxes.shape[1] :]
                features = query_features(theirs[his.name], his.layout)
                value, _ = distill_loss(own, features, match, target.loss)
                total = total + target.weight * share / len(pairs) * value / kept
        return total


def _not_finite(prediction: Prediction, batch: Batch) -> list[str]:
    """Ids of the images for which some layer predicts NaN or infinity."""
    layers = [(prediction.logits, prediction.boxes), *prediction.auxiliary]
    fine = torch.stack([value.isfinite().flatten(1).all(1) for layer in layers for value in layer]).all(0)
    return [str(image) for image, whole in zip(batch.image_ids, fine.tolist(), strict=True) if not whole]


def _pairs(student: Student, teacher: Student, targets: Sequence[TargetSpec]) -> list[list[_Pair]]:
    """The paired taps of every target. Raises: PlanErrors: all that do not fit."""
    pairs, problems = [], []
    for index, target in enumerate(targets):
        try:
            pairs.append(_pair_taps(student, teacher, target, index))
        except PlanError as problem:
            problems.append(problem)
    if problems:
        raise PlanErrors(problems)
    return pairs


def _pair_taps(student: Student, teacher: Student, target: TargetSpec, index: int) -> list[_Pair]:
    """The student's taps of one target with the teacher's that correspond: the last with the last, and so on back."""
    mine, his = ([tap for tap in model.plan.taps if tap.role == target.at] for model in (student, teacher))
    if target.layers == "last":
        mine, his = mine[-1:], his[-1:]
    where = student.recipe.where(("distill", "targets", index))
    if len(his) < len(mine) or not his:
        raise PlanError(
            f"the teacher has {len(his)} taps at {target.at}, the student {len(mine)}",
            where=where,
            remedy="use layers: last, or a teacher with as many decoder layers",
        )
    his = his[-len(mine) :]
    for a, b in zip(mine, his, strict=True):
        try:
            check_widths(a.width, b.width, a.name)
        except PlanError as problem:
            raise PlanError(f"{problem.where}: {problem.what}", where=where, remedy=problem.remedy) from None
    return list(zip(mine, his, strict=True))
