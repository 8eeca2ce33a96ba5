"""transformers' DETR (``DetrForObjectDetection``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ...recipe.definition import InputSpec, LossSpec
from ..prediction import Prediction
from .base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Family,
    Labels,
    fitted_labels,
    full_mask,
    named_parts,
    own_field,
)


@final
class DetrFamily(Family):
    """Softmax with a no-object class, padded batches with a mask, transformers' own loss with its own coefficients.

    The model returns no logits of its earlier layers without labels, and its ``config.auxiliary_loss`` changes the
    network itself (the normalised state is fed forward). So the earlier layers' states are collected while the model
    runs, and read by the model's own norm and heads.
    """

    def __init__(self, config: Any, loss_spec: LossSpec) -> None:
        shown = InputSpec(shortest=800, longest=1333, mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=True)
        super().__init__("detr", "softmax", shown, loss_spec, int(config.num_labels))
        self._config = copy.deepcopy(config)

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> DetrFamily:
        """From a ``DetrForObjectDetection``; the number of classes is its configuration's."""
        return cls(model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        mask = full_mask(pixel_values) if pixel_mask is None else pixel_mask
        return {"pixel_values": pixel_values, "pixel_mask": mask}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Extras in training: ``aux_logits`` (layers - 1, B, Q, C + 1) and ``aux_boxes`` (layers - 1, B, Q, 4)."""
        detr: Any = model
        decoder = detr.model.decoder
        earlier = list(decoder.layers)[:-1]
        if not (model.training and self.loss_spec.auxiliary and earlier):
            return model(**inputs), {}
        states: list[Tensor] = []

        def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
            states.append(output if isinstance(output, Tensor) else output[0])

        hooks = [layer.register_forward_hook(keep) for layer in earlier]
        try:
            outputs = model(**inputs)
        finally:
            for hook in hooks:
                hook.remove()
        read = decoder.layernorm(torch.stack(states))
        boxes = detr.bbox_predictor(read).sigmoid()
        return outputs, {"aux_logits": detr.class_labels_classifier(read), "aux_boxes": boxes}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        earlier: tuple[tuple[Tensor, Tensor], ...] = ()
        if extras:
            earlier = tuple(zip(extras["aux_logits"].unbind(), extras["aux_boxes"].unbind(), strict=True))
        return Prediction(own_field(outputs, "logits"), own_field(outputs, "pred_boxes"), earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's: cross-entropy, L1 and GIoU; ``cardinality_error`` is no loss and is dropped.

        In float32 whatever the model computes in: transformers' losses are.
        """
        from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

        logits = own_field(outputs, "logits").float()
        boxes = own_field(outputs, "pred_boxes").float()
        config = copy.copy(self._config)
        config.auxiliary_loss = bool(extras)
        classes, coordinates = None, None
        if extras:
            classes = torch.cat((extras["aux_logits"].to(logits), logits[None]))
            coordinates = torch.cat((extras["aux_boxes"].to(boxes), boxes[None]))
        total, named, _ = ForObjectDetectionLoss(
            logits, fitted_labels(labels, boxes), logits.device, boxes, config, classes, coordinates
        )
        last = {
            "class": named["loss_ce"],
            "l1": named["loss_bbox"] * config.bbox_loss_coefficient,
            "giou": named["loss_giou"] * config.giou_loss_coefficient,
        }
        return total, named_parts(total, last, bool(extras))

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return key.startswith("class_labels_classifier.")
