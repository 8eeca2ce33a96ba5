"""transformers' DETR and Table Transformer, which is DETR with pre-norm layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from ...recipe.definition import LossSpec
from .module_outputs import outputs_of
from .set_family import SetFamily


@final
class DetrFamily(SetFamily):
    """Softmax with a no-object class, padded batches with a mask, transformers' own loss with its own coefficients.

    The model's ``config.auxiliary_loss`` changes the network itself: the normalised state is fed forward. So the
    earlier layers' states are collected while the model runs as it is configured, and read by its own norm and heads.
    """

    loss_type: ClassVar[str] = "ForObjectDetection"
    heads: ClassVar[re.Pattern[str]] = re.compile(r"class_labels_classifier\.")

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> DetrFamily:
        """From a ``DetrForObjectDetection``; the number of classes is its configuration's."""
        return cls("detr", "softmax", model.config, loss_spec)

    @classmethod
    def table_transformer(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> DetrFamily:
        """From a ``TableTransformerForObjectDetection``.

        Pages are shown with their longer side at 800 pixels, as table detection was trained; table structure
        recognition was trained at 1000, which a recipe's ``model.input.longest`` sets.
        """
        return cls("table-transformer", "softmax", model.config, loss_spec, longest=800)

    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        decoder = model.model.decoder
        with outputs_of(decoder.layers[:-1]) as states:
            outputs = model(**inputs)
        if not states:
            return outputs, {}
        read = decoder.layernorm(torch.stack(states))
        boxes = model.bbox_predictor(read).sigmoid()
        return outputs, {"aux_logits": model.class_labels_classifier(read), "aux_boxes": boxes}
