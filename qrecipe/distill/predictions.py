"""Distances between the predictions of matched queries: of their classes' logits, and of their boxes.

Sources: KD-DETR (arXiv 2211.08071) and DETRDistill (arXiv 2211.10156) distil both.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..detection.boxes import cxcywh_to_xyxy, pairwise_giou


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two softmaxes, in nats: logits (..., columns) to (...)."""
    own, wanted = F.log_softmax(student, -1), F.log_softmax(teacher, -1)
    return F.kl_div(own, wanted, reduction="none", log_target=True).sum(-1)


def bce(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy of each class against the teacher's probability, less the teacher's own entropy, summed over
    classes: logits (..., classes) to (...), in nats. 0 where they agree."""
    wanted = teacher.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(teacher, wanted, reduction="none")
    return (F.binary_cross_entropy_with_logits(student, wanted, reduction="none") - entropy).sum(-1)


def l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of the absolute differences: boxes (..., 4) to (...)."""
    return (student - teacher).abs().sum(-1)


def giou(student: Tensor, teacher: Tensor) -> Tensor:
    """1 less the generalised IoU: boxes (..., 4), cxcywh, to (...), in 0..2."""
    pairs = pairwise_giou(cxcywh_to_xyxy(student)[..., None, :], cxcywh_to_xyxy(teacher)[..., None, :])
    return 1 - pairs[..., 0, 0]
