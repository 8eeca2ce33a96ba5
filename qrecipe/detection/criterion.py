"""The built-in detection loss, DETR's, for modules that bring none of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ModelError, PlanError
from ..processes import Whole, global_divisor
from ..recipe.definition import LossSpec
from .boxes import cxcywh_to_xyxy, pairwise_giou
from .matcher import Assignment, Targets, class_weight, hungarian_match
from .prediction import Prediction, Scores

CLASSIFICATION: dict[Scores, str] = {"softmax": "cross_entropy", "sigmoid": "focal"}


class Criterion:
    """Classification, L1 and GIoU losses of the matched queries, for every layer matched on its own.

    Classification is a cross-entropy over classes and no-object (``softmax``: the last column is no-object, weighted
    ``spec.no_object``; a weighted mean over the batch's queries, as in DETR), or a focal loss (``sigmoid``).
    Focal, L1 and GIoU are sums over the number of objects in the batches of all processes, at least 1.

    Args:
        classes: size of the head, no-object not counted.
        spec: the coefficients; ``class_weight`` None is 1 for the cross-entropy and 2 for the focal loss.
        scores: how the model's scores are made.

    Raises:
        PlanError: ``spec.classification`` is not the one that goes with these scores.

    Source: DETR (Carion et al., ECCV 2020), section 3; focal: Lin et al., ICCV 2017.
    """

    def __init__(self, classes: int, spec: LossSpec, scores: Scores) -> None:
        expected = CLASSIFICATION[scores]
        if spec.classification not in (None, expected):
            raise PlanError(
                f"a model with {scores} scores is trained with {expected}, not with {spec.classification}",
                where="train.loss.classification",
                remedy=f"leave it out, or set it to {expected}",
            )
        self.classes = classes
        self.spec = spec
        self.scores: Scores = scores
        self.class_weight = class_weight(scores, spec)

    def __call__(
        self, prediction: Prediction, labels: Sequence[Mapping[str, Tensor]], whole: Whole | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted total, and its parts: detached scalars that sum to it.

        Args:
            labels: per image ``class_labels`` (n,) int64 and ``boxes`` (n, 4) cxcywh in 0..1; n may be 0.
            whole: the step of which this batch is a part; sums are divided by what is in all of it.

        Returns:
            total: scalar with a graph to all logits and boxes. parts: ``class``, ``l1``, ``giou`` of the last layer,
            and ``auxiliary``, the earlier layers together, where there are any and ``spec.auxiliary`` is set.

        Raises:
            ModelError: the head has another number of columns.
            TrainError: predictions are not finite.
        """
        logits, boxes = _at_least_float32(prediction.logits), _at_least_float32(prediction.boxes)
        targets = Targets.of(labels, like=boxes)
        divisor: Tensor | float
        if whole is None:
            divisor = global_divisor(torch.tensor(sum(targets.counts), device=boxes.device))
        else:
            divisor = whole.boxes
        weight = None if whole is None else whole.queries(logits.shape[1], self.spec.no_object)
        named = self._layer(logits, boxes, targets, divisor, weight)
        if self.spec.auxiliary and prediction.auxiliary:
            earlier: list[Tensor] = []
            for layer_logits, layer_boxes in prediction.auxiliary:
                own = _at_least_float32(layer_logits), _at_least_float32(layer_boxes)
                earlier += self._layer(*own, targets, divisor, weight).values()
            named["auxiliary"] = torch.stack(earlier).sum()
        total = torch.stack(list(named.values())).sum()
        return total, {name: value.detach() for name, value in named.items()}

    def _layer(
        self, logits: Tensor, boxes: Tensor, targets: Targets, divisor: Tensor | float, weight: float | None
    ) -> dict[str, Tensor]:
        columns = self.classes + (1 if self.scores == "softmax" else 0)
        if logits.shape[-1] != columns:
            raise ModelError(
                f"the head has {logits.shape[-1]} columns; {self.scores} scores of {self.classes} classes need "
                f"{columns}",
                remedy="set train.loss.classification to cross_entropy (with a no-object column) or focal (without)",
            )
        spec = self.spec
        pairs = hungarian_match(logits, boxes, targets, self.scores, spec)
        wanted = targets.boxes[pairs.image, pairs.object]
        found = boxes[pairs.image, pairs.query]
        overlap = pairwise_giou(cxcywh_to_xyxy(found)[:, None], cxcywh_to_xyxy(wanted)[:, None])
        return {
            "class": self.class_weight * self._classification(logits, targets, pairs, divisor, weight),
            "l1": spec.l1 * (found - wanted).abs().sum() / divisor,
            "giou": spec.giou * (1 - overlap).sum() / divisor,
        }

    def _classification(
        self, logits: Tensor, targets: Targets, pairs: Assignment, divisor: Tensor | float, summed: float | None
    ) -> Tensor:
        classes = targets.classes[pairs.image, pairs.object]
        if self.scores == "sigmoid":
            positive = torch.zeros_like(logits, dtype=torch.bool)
            positive[pairs.image, pairs.query, classes] = True
            return focal_loss(logits, positive, self.spec.focal_alpha, self.spec.focal_gamma).sum() / divisor
        target = torch.full(logits.shape[:2], self.classes, dtype=torch.int64, device=logits.device)
        target[pairs.image, pairs.query] = classes
        weight = torch.ones(self.classes + 1, dtype=logits.dtype, device=logits.device)
        weight[-1] = self.spec.no_object
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight, reduction="sum")
        # All weights are zero where no_object is 0 and the batch has no objects: then 0, not 0 / 0.
        own = weight[target].sum() if summed is None else weight.new_tensor(summed)
        return loss / own.clamp(min=torch.finfo(weight.dtype).tiny)


def focal_loss(logits: Tensor, positive: Tensor, alpha: float, gamma: float) -> Tensor:
    """Element-wise sigmoid focal loss ``-alpha_t (1 - p_t)^gamma log p_t``; ``positive`` is bool, of the logits' shape.

    Written with log-sigmoids, so that its gradient is finite for any gamma >= 0 and any finite logit.
    Source: Lin et al., ICCV 2017, eq. 5.
    """
    right = torch.where(positive, logits, -logits)
    balance = positive.to(logits) * (2 * alpha - 1) + (1 - alpha)
    return -balance * F.logsigmoid(right) * (gamma * F.logsigmoid(-right)).exp()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
