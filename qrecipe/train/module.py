"""One module that holds student, teacher and losses: what a runner, DDP or somebody's own loop wraps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from ..detection.prediction import Prediction, best_scores
from ..distill import MATCHERS, Match, distill_loss, global_divisor, match_queries, remaining, whole_images
from ..errors import PlanError, TrainError
from ..graph.choices import said, told
from ..placement import fitted_labels
from ..recipe.definition import MatchSpec, TargetSpec
from ..student import Student, change_bits
from ..vocabulary import MAPS, PREDICTED_CLASSES
from .compared import Seen, features, paired, projections_of
from .dampening import dampening, weights_seen


@final
class TrainingModule(nn.Module):
    """``forward(batch)`` gives the loss and its parts: detection loss + sum of weight * distillation loss (2.38).

    Args:
        student: what is trained.
        teacher: a real-valued student with the same taps; frozen, always in evaluation mode. Needed where the recipe
            has distillation targets.
        calibration: batches that ranges come from where a stage has other bits than the one before.

    Where a target is projected, the projections are parameters of this module, beside the student's.

    Raises:
        PlanError: the teacher is missing, lacks a tap, or a tap of it has another width and is not projected.
    """

    def __init__(
        self,
        student: Student,
        teacher: Student | None = None,
        calibration: Callable[[], Sequence[Batch]] = tuple,
    ) -> None:
        super().__init__()
        self.student = student
        self.calibration = calibration
        self.targets = student.recipe.distill.targets
        self.tells = any(MATCHERS[target.match.kind].told for target in self.targets)
        self.dampen = student.recipe.train.dampen
        self.over = 0.0
        self.teacher = teacher if self.targets else None
        if self.targets:
            if teacher is None:
                raise PlanError("the recipe distils, so a teacher is needed", where="distill.targets")
            self.pairs = paired(student, teacher, self.targets)
            self.projections = projections_of(student, self.targets, self.pairs)
            teacher.requires_grad_(False)
            teacher.eval()

    def train(self, mode: bool = True) -> TrainingModule:
        """Set the student's mode; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def set_stage(self, quantize: Sequence[str] | None, bits: int | None = None) -> None:
        """Quantize only the roles that match, None quantizes all; with no fewer bits than these, None: the plan's."""
        self.student.set_bits(bits)
        self.student.set_stage(quantize)

    def change_bits(self, bits: int | None) -> None:
        """Give quantizers the bits of a stage that begins, and those that change ranges from ``calibration``.

        Raises:
            CalibrationError: there are no batches, or no range fits.
        """
        change_bits(self.student, bits, self.calibration())

    def set_progress(self, over: float) -> None:
        """What share of training is over, in 0..1: targets that are annealed fall with it, and dampening rises."""
        self.over = over

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar with a graph, and its detached parts: ``detection``, ``distill``, ``dampening``, theirs.

        Raises:
            TrainError: the predictions are not finite, so that the matching in the detection loss fails.
        """
        student = self.student
        his, choices = self._taught(batch)
        inputs = student.family.training_inputs(batch.pixel_values, batch.pixel_mask, batch.labels)
        with weights_seen({} if self.dampen is None else student.quantizers) as weights, choices:
            outputs, extras, taps = student.run(inputs, mode="train", taps=his is not None)
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
        if his is not None:
            terms = self._distill(batch, Seen(prediction, taps), his)
            distilled = torch.stack(list(terms.values())).sum()
            parts |= {"distill": distilled.detach(), **{name: term.detach() for name, term in terms.items()}}
            loss = loss + distilled
        if self.dampen is not None:
            share = batch.weight * (1 - remaining("cosine", self.over))
            pull = self.dampen.weight * share * dampening(weights).to(loss.device)
            parts["dampening"] = pull.detach()
            loss = loss + pull
        return loss, parts

    @torch.no_grad()
    def _taught(self, batch: Batch) -> tuple[Seen | None, AbstractContextManager[None]]:
        """What the teacher makes of a batch; and what the student runs in, where it is to decode the same queries."""
        teacher = self.teacher
        if teacher is None:
            return None, nullcontext()
        inputs = teacher.family.inputs(batch.pixel_values, batch.pixel_mask)
        with said() as chosen:
            outputs, extras, taps = teacher.run(inputs, mode="eval", taps=True)
        return Seen(teacher.family.read(outputs, extras), taps), told(chosen) if self.tells else nullcontext()

    def _distill(self, batch: Batch, mine: Seen, his: Seen) -> dict[str, Tensor]:
        """The weighted term of every target, by what it compares and how."""
        assert self.teacher is not None
        own, other = mine.prediction.boxes, his.prediction.boxes
        scores = best_scores(his.prediction.logits, self.teacher.family.scores)
        truth = [label["boxes"] for label in fitted_labels(batch.labels, other)]
        matches: dict[MatchSpec | None, tuple[Match, Tensor]] = {}  # once, with the final boxes, for all layers
        share = 1.0 if batch.whole is None else batch.whole.share
        terms: dict[str, Tensor] = {}
        for target, pairs, projections in zip(self.targets, self.pairs, self.projections, strict=True):
            key = None if target.at in MAPS else target.match
            if key not in matches:
                match = whole_images(own) if key is None else self._match(key, own, other, truth, scores)
                matches[key] = match, global_divisor(match.total * (not batch.idle))
            match, kept = matches[key]
            if target.at == PREDICTED_CLASSES:  # that a query sees nothing is learned too
                match = match.unweighted()
            seen = features(target, pairs, mine, his, projections)
            sums = [distill_loss(a, b, match, target.loss)[0] for a, b in seen]
            weight = target.weight * remaining(target.anneal, self.over)
            term = weight * share * torch.stack(sums).mean() / kept
            terms[name_of(target)] = terms.get(name_of(target), 0) + term
        return terms

    def _match(self, spec: MatchSpec, own: Tensor, his: Tensor, truth: list[Tensor], scores: Tensor) -> Match:
        """Where queries are the same ones, those are that evaluation has too: the first of several groups."""
        count = own.shape[1]
        first = count // self.student.family.groups if MATCHERS[spec.kind].told else count
        return match_queries(spec, own[:, :first], his, truth, scores).padded(count)


def name_of(target: TargetSpec) -> str:
    """What the term of a target is called among the parts of a loss; targets of one name are added up."""
    return f"{target.loss} of {target.at}"


def _not_finite(prediction: Prediction, batch: Batch) -> list[str]:
    """Ids of the images for which some layer predicts NaN or infinity."""
    layers = [(prediction.logits, prediction.boxes), *prediction.auxiliary]
    fine = torch.stack([value.isfinite().flatten(1).all(1) for layer in layers for value in layer]).all(0)
    return [str(image) for image, whole in zip(batch.image_ids, fine.tolist(), strict=True) if not whole]
