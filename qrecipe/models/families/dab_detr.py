"""transformers' DAB-DETR (``DabDetrForObjectDetection``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from ...recipe.definition import LossSpec
from .module_outputs import outputs_of
from .set_family import SetFamily, refined_boxes


@final
class DabDetrFamily(SetFamily):
    """Sigmoid scores; every layer refines the anchor boxes that the layer before it left.

    The model works out the boxes of all layers in every forward, and returns the last. Its box head's output is kept
    as it is computed, so that no head runs twice; the class head runs once more over the earlier layers.
    ``config.cls_loss_coefficient`` is not used by transformers' loss, and so not here: classes weigh 1.
    """

    loss_type: ClassVar[str] = "DabDetrForObjectDetection"
    heads: ClassVar[re.Pattern[str]] = re.compile(r"class_embed\.")

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> DabDetrFamily:
        """From a ``DabDetrForObjectDetection``; the number of classes is its configuration's."""
        return cls("dab-detr", "sigmoid", model.config, loss_spec)

    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        from transformers.models.dab_detr.modeling_dab_detr import inverse_sigmoid

        with (
            outputs_of([model.model], keep=lambda output: output) as decoded,
            outputs_of([model.bbox_predictor], keep=torch.clone) as offsets,
        ):
            outputs = model(**inputs)
        states = decoded[0].intermediate_hidden_states[:-1]
        if states.shape[0] == 0:
            return outputs, {}
        boxes = refined_boxes(offsets[0][:-1], inverse_sigmoid(decoded[0].reference_points[:-1]))
        return outputs, {"aux_logits": model.class_embed(states), "aux_boxes": boxes}
