"""transformers' Conditional DETR (``ConditionalDetrForObjectDetection``)."""

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
class ConditionalDetrFamily(SetFamily):
    """Sigmoid scores; every layer's centre is an offset from one reference point per query.

    As in DETR, ``config.auxiliary_loss`` changes the network itself (the normalised state is fed forward), so the
    earlier layers' states are collected, and read by the model's own norm, heads and reference points.
    ``config.cls_loss_coefficient`` is not used by transformers' loss, and so not here: classes weigh 1.
    """

    loss_type: ClassVar[str] = "ConditionalDetrForObjectDetection"
    heads: ClassVar[re.Pattern[str]] = re.compile(r"class_labels_classifier\.")

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> ConditionalDetrFamily:
        """From a ``ConditionalDetrForObjectDetection``; the number of classes is its configuration's."""
        return cls("conditional_detr", "sigmoid", model.config, loss_spec)

    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        from transformers.models.conditional_detr.modeling_conditional_detr import inverse_sigmoid

        decoder = model.model.decoder
        with (
            outputs_of(decoder.layers[:-1]) as states,
            outputs_of([decoder], keep=lambda output: output.reference_points) as references,
        ):
            outputs = model(**inputs)
        if not states:
            return outputs, {}
        read = decoder.layernorm(torch.stack(states))
        points = inverse_sigmoid(references[0]).transpose(0, 1)  # (Q, B, 2), as the decoder has them, to (B, Q, 2)
        boxes = refined_boxes(model.bbox_predictor(read), points)
        return outputs, {"aux_logits": model.class_labels_classifier(read), "aux_boxes": boxes}
