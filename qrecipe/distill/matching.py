"""Which student query learns from which teacher query: foreground-aware query matching (Q-DETR eqs. 2.33-2.35)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from ..detection.boxes import cxcywh_to_xyxy, pairwise_giou
from ..errors import TrainError
from ..named_code import load
from ..recipe.definition import MatchSpec
from ..recipe.distill_table import MATCHERS


@dataclass(frozen=True)
class Match:
    """The kept student queries and their teachers.

    keep: (batch, student queries) bool.
    teacher_index: (batch, student queries) int64, an index into the teacher's queries; read it only where ``keep``.
    weight: (batch, student queries), what each pair weighs; None is 1.
    """

    keep: Tensor
    teacher_index: Tensor
    weight: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """What the kept pairs weigh together: a scalar."""
        return self.keep.sum() if self.weight is None else torch.where(self.keep, self.weight, 0.0).sum()

    def padded(self, queries: int) -> Match:
        """The same pairs among so many student queries: those behind the ones that are matched are not kept."""
        more = (0, queries - self.keep.shape[1])
        weight = None if self.weight is None else F.pad(self.weight, more)
        return Match(F.pad(self.keep, more), F.pad(self.teacher_index, more), weight)

    def unweighted(self) -> Match:
        """The same pairs, all alike."""
        return Match(self.keep, self.teacher_index)


@torch.no_grad()
def foreground_match(
    student_boxes: Tensor,
    teacher_boxes: Tensor,
    gt_boxes: Sequence[Tensor],
    tau: float,
    giou_weight: float = 2.0,
    l1_weight: float = 5.0,
) -> Match:
    """Keep the student queries near an object, and give each the teacher query nearest to it.

    For object i: ``G_i = max_j GIoU(gt_i, student_j)`` (2.33). Student j is kept if ``GIoU(gt_i, student_j) > tau G_i``
    for at least one i (2.34); its teacher is ``argmax_k giou_weight GIoU(j, k) - l1_weight |b_j - b_k|_1`` (2.35).
    An object with ``G_i <= 0`` (no student box touches it) keeps nothing, and neither does an image without objects.
    A student or an object whose box is not finite keeps nothing; a teacher whose box is not finite is never chosen
    unless all are. No gradient flows.

    Args:
        student_boxes: (batch, student queries, 4), cxcywh in 0..1.
        teacher_boxes: (batch, teacher queries, 4), likewise.
        gt_boxes: per image (objects, 4), likewise; objects may be 0.
        tau: 0 <= tau < 1; 0 keeps every query that overlaps an object (GIoU > 0).

    Raises:
        ValueError: tau out of range, or another number of images in gt_boxes.

    Source: Q-DETR (arXiv 2304.00253), eqs. 2.33-2.35, with "at least one object" as the prose of 2.34 has it.
    """
    if not 0 <= tau < 1:
        raise ValueError(f"tau must be at least 0 and less than 1, not {tau}")
    if len(gt_boxes) != student_boxes.shape[0]:
        raise ValueError(f"{len(gt_boxes)} images of objects for a batch of {student_boxes.shape[0]}")
    student = _at_least_float32(student_boxes)
    padded = pad_sequence([boxes.to(student) for boxes in gt_boxes], batch_first=True)
    counts = torch.tensor([len(boxes) for boxes in gt_boxes], device=student.device)
    real = torch.arange(padded.shape[1], device=student.device) < counts[:, None]
    # (batch, objects, student queries)
    overlap = pairwise_giou(cxcywh_to_xyxy(padded), cxcywh_to_xyxy(student))
    overlap = overlap.masked_fill(~_finite(student)[:, None, :], -torch.inf)
    best = overlap.amax(-1, keepdim=True)
    counted = (best > 0) & (real & _finite(padded))[..., None]
    keep = ((overlap > tau * best) & counted).any(1)
    return Match(keep, _nearest_teacher(student, _at_least_float32(teacher_boxes), giou_weight, l1_weight))


@torch.no_grad()
def all_match(student_boxes: Tensor, teacher_boxes: Tensor, giou_weight: float = 2.0, l1_weight: float = 5.0) -> Match:
    """Keep every student query, objects or not; teachers as in :func:`foreground_match` (2.35)."""
    student = _at_least_float32(student_boxes)
    keep = torch.ones(student.shape[:2], dtype=torch.bool, device=student.device)
    return Match(keep, _nearest_teacher(student, _at_least_float32(teacher_boxes), giou_weight, l1_weight))


@torch.no_grad()
def same_match(student_boxes: Tensor, teacher_scores: Tensor) -> Match:
    """Keep every student query; its teacher is the query of the same number, which weighs as the teacher scores it.

    Args:
        student_boxes: (batch, queries, 4). teacher_scores: (batch, queries), of the best class, in 0..1.

    Raises:
        TrainError: the two have other numbers of queries.

    Source: KD-DETR (arXiv 2211.08071), section 3.3 (the same points in both), 3.4 (weights from the teacher's scores).
    """
    size, own, his = teacher_scores.shape[0], student_boxes.shape[1], teacher_scores.shape[1]
    if own != his:
        what = f"the teacher has {his} queries, the student {own}: none are the same"
        raise TrainError(what, where="distill.targets", remedy="choose a teacher with as many, or another match.kind")
    index = torch.arange(own, device=student_boxes.device).expand(size, own)
    return Match(torch.ones_like(index, dtype=torch.bool), index, teacher_scores)


def match_queries(
    spec: MatchSpec, student_boxes: Tensor, teacher_boxes: Tensor, gt_boxes: Sequence[Tensor], teacher_scores: Tensor
) -> Match:
    """The match that a recipe asks for; shapes and errors as in :func:`foreground_match` and :func:`same_match`."""
    found: Match = load(MATCHERS[spec.kind].code)(spec, student_boxes, teacher_boxes, gt_boxes, teacher_scores)
    return found


def whole_images(count: Tensor) -> Match:
    """The match of feature maps, each image's with the teacher's of the same image. count: (batch, ...), any tensor."""
    index = count.new_zeros((len(count), 1), dtype=torch.int64)
    return Match(torch.ones_like(index, dtype=torch.bool), index)


def foreground(spec: MatchSpec, student: Tensor, teacher: Tensor, gt_boxes: Sequence[Tensor], scores: Tensor) -> Match:
    """The row ``foreground`` of the matchers."""
    return foreground_match(student, teacher, gt_boxes, spec.tau, spec.giou, spec.l1)


def every(spec: MatchSpec, student: Tensor, teacher: Tensor, gt_boxes: Sequence[Tensor], scores: Tensor) -> Match:
    """The row ``all`` of the matchers."""
    return all_match(student, teacher, spec.giou, spec.l1)


def same(spec: MatchSpec, student: Tensor, teacher: Tensor, gt_boxes: Sequence[Tensor], scores: Tensor) -> Match:
    """The row ``same`` of the matchers."""
    return same_match(student, scores)


def _nearest_teacher(student: Tensor, teacher: Tensor, giou_weight: float, l1_weight: float) -> Tensor:
    """(batch, student queries): the teacher query of each (2.35)."""
    teacher = teacher.to(student)
    overlap = pairwise_giou(cxcywh_to_xyxy(student), cxcywh_to_xyxy(teacher))
    score = giou_weight * overlap - l1_weight * torch.cdist(student, teacher, p=1)
    return torch.where(score.isfinite(), score, -torch.inf).argmax(-1)


def _finite(boxes: Tensor) -> Tensor:
    return boxes.isfinite().all(-1)


def _at_least_float32(boxes: Tensor) -> Tensor:
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
