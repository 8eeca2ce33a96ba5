"""transformers' Deformable DETR (``DeformableDetrForObjectDetection``): plain, with box refinement, and two-stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from ...detection.prediction import Prediction
from ...recipe.definition import LossSpec
from .base import Labels, named_parts, own_field
from .module_outputs import outputs_of
from .set_family import SetFamily, refined_boxes


@final
class DeformableDetrFamily(SetFamily):
    """Sigmoid scores; each layer's boxes are offsets from its reference points, by heads of its own or shared ones.

    Two-stage models predict a box at every position of the encoder, the best of which become queries. As in the
    original code these proposals are trained with the auxiliary losses, every object being of class 0.
    transformers' loss leaves them out, and with it nothing would train the heads that choose the queries.
    """

    loss_type: ClassVar[str] = "DeformableDetrForObjectDetection"
    heads: ClassVar[re.Pattern[str]] = re.compile(r"(model\.decoder\.)?class_embed\.")

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> DeformableDetrFamily:
        """From a ``DeformableDetrForObjectDetection``; the number of classes is its configuration's."""
        return cls("deformable_detr", "sigmoid", model.config, loss_spec)

    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Extras of a two-stage model also hold ``proposal_logits`` (B, S, classes) and ``proposal_boxes`` (B, S, 4).

        S: the positions of all levels together.
        """
        from transformers.models.deformable_detr.modeling_deformable_detr import inverse_sigmoid

        earlier = self._config.decoder_layers - 1
        with (
            outputs_of(model.class_embed[:earlier]) as logits,
            outputs_of(model.bbox_embed[:earlier], keep=torch.clone) as offsets,
        ):
            outputs = model(**inputs)
        extras = {}
        if earlier:
            later = own_field(outputs, "intermediate_reference_points").unbind(1)
            references = [own_field(outputs, "init_reference_points"), *later][:earlier]
            boxes = [refined_boxes(a, inverse_sigmoid(b)) for a, b in zip(offsets, references, strict=True)]
            extras = {"aux_logits": torch.stack(logits), "aux_boxes": torch.stack(boxes)}
        if self._config.two_stage:
            extras["proposal_logits"] = own_field(outputs, "enc_outputs_class")
            extras["proposal_boxes"] = own_field(outputs, "enc_outputs_coord_logits").sigmoid()
        return outputs, extras

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's, and for a two-stage model that of its proposals besides, as ``auxiliary``."""
        prediction = self.read(outputs, extras)
        total, last, _ = self.set_loss(prediction, labels)
        if "proposal_logits" in extras:
            proposals = Prediction(extras["proposal_logits"], extras["proposal_boxes"])
            objects = [{**label, "class_labels": torch.zeros_like(label["class_labels"])} for label in labels]
            total = total + self.set_loss(proposals, objects)[0]
        return total, named_parts(total, last, bool(extras))
