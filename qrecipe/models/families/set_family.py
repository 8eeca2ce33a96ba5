"""What transformers' DETRs share: a set loss over every decoder layer, and images resized by their shorter side."""

from __future__ import annotations

import copy
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...detection.prediction import Prediction
from ...placement import fitted_labels
from ...processes import Whole
from ...recipe.definition import InputSpec, LossSpec
from .alone import alone
from .base import IMAGENET_MEAN, IMAGENET_STD, Family, Labels, full_mask, named_parts, own_field


class SetFamily(Family):
    """A DETR of transformers with the model's own loss and coefficients; padded batches with a mask.

    Without labels these models return no logits and boxes of their earlier decoder layers. A subclass collects them
    while the model runs (``forward_layers``), and they are what the model itself computes for its auxiliary losses.

    loss_type: the row of transformers' ``LOSS_MAPPING``. heads: keys of the state_dict that belong to class heads.
    """

    loss_type: ClassVar[str]
    heads: ClassVar[re.Pattern[str]]

    def __init__(
        self,
        name: str,
        scores: Literal["softmax", "sigmoid"],
        config: Any,
        loss_spec: LossSpec,
        longest: int = 1333,
    ) -> None:
        shown = InputSpec(shortest=800, longest=longest, mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=True)
        super().__init__(name, scores, shown, loss_spec, int(config.num_labels))
        self._config = copy.deepcopy(config)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        mask = full_mask(pixel_values) if pixel_mask is None else pixel_mask
        return {"pixel_values": pixel_values, "pixel_mask": mask}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Extras in training: ``aux_logits`` (layers - 1, B, Q, columns) and ``aux_boxes`` (layers - 1, B, Q, 4)."""
        if model.training and self.loss_spec.auxiliary:
            return self.forward_layers(model, inputs)
        return model(**inputs), {}

    @abstractmethod
    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """``forward`` with the extras of every earlier layer; none where there is one layer alone."""

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        earlier: tuple[tuple[Tensor, Tensor], ...] = ()
        if "aux_logits" in extras:
            earlier = tuple(zip(extras["aux_logits"].unbind(), extras["aux_boxes"].unbind(), strict=True))
        return Prediction(own_field(outputs, "logits"), own_field(outputs, "pred_boxes"), earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's, whose ``cardinality_error`` is no loss. Classes weigh 1, as transformers has it.

        In float32 whatever the model computes in: transformers' losses are.
        """
        prediction = self.read(outputs, extras)
        total, last, _ = self.set_loss(prediction, labels)
        return total, named_parts(total, last, bool(prediction.auxiliary))

    def part_of_loss(
        self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels, whole: Whole
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A cross-entropy is a mean over queries, weighted by whether they have an object."""
        if self.scores == "sigmoid":
            return super().part_of_loss(outputs, extras, labels, whole)
        prediction = self.read(outputs, extras)
        with alone():
            total, last, classes = self.set_loss(prediction, labels)
        boxes = self._box_factor(labels, whole)
        count, no_object = prediction.logits.shape[1], float(self._config.eos_coefficient)
        own = Whole(tuple(len(label["class_labels"]) for label in labels), 1, 1.0).queries(count, no_object)
        queries = own / (whole.queries(count, no_object) or 1)
        total = (total - classes) * boxes + classes * queries
        last = {name: value * (queries if name == "class" else boxes) for name, value in last.items()}
        return total, named_parts(total, last, bool(prediction.auxiliary))

    def set_loss(self, prediction: Prediction, labels: Labels) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The sum over all layers of a prediction; the weighted ``class``, ``l1`` and ``giou`` of its last; and the sum
        of all layers' losses of the classes."""
        from transformers.loss.loss_utils import LOSS_MAPPING

        layers = [*prediction.auxiliary, (prediction.logits, prediction.boxes)]
        logits = torch.stack([layer[0].float() for layer in layers])
        boxes = torch.stack([layer[1].float() for layer in layers])
        config = copy.copy(self._config)
        config.auxiliary_loss = len(layers) > 1
        total, named, _ = LOSS_MAPPING[self.loss_type](
            logits[-1], fitted_labels(labels, boxes), logits.device, boxes[-1], config, logits, boxes
        )
        last = {
            "class": named["loss_ce"],
            "l1": named["loss_bbox"] * config.bbox_loss_coefficient,
            "giou": named["loss_giou"] * config.giou_loss_coefficient,
        }
        classes = torch.stack([value for name, value in named.items() if name.startswith("loss_ce")]).sum()
        return total, last, classes

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return self.heads.match(key) is not None


def refined_boxes(offsets: Tensor, points: Tensor) -> Tensor:
    """Boxes (..., 4), cxcywh in 0..1, of offsets (..., 4) from reference points (..., 2 or 4) in logits."""
    return (offsets + nn.functional.pad(points, (0, 4 - points.shape[-1]))).sigmoid()
