"""transformers' DEIMv2 (``Deimv2ForObjectDetection``)."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from torch import Tensor, nn

from ...recipe.definition import InputSpec, LossSpec
from ..prediction import Prediction
from .base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Family,
    Labels,
    fitted_labels,
    named_parts,
    own_field,
)

HEADS = re.compile(r"(model\.decoder\.)?class_embed\.|model\.enc_score_head\.|model\.denoising_class_embed\.")
LAST = {"loss_mal": "class", "loss_bbox": "l1", "loss_giou": "giou"}


@final
class Deimv2Family(Family):
    """Sigmoid scores, images of one fixed size in 0..1, transformers' own loss with its own coefficients.

    The size is the configuration's ``anchor_image_size`` or ``eval_size`` where it has one, else 640x640. Backbones of
    DINOv3 were trained on normalised images, HGNetv2 was not.
    """

    notes: ClassVar[tuple[str, ...]] = (
        "DEIMv2's denoising branch is not used in training: it would need the labels inside the network",
    )

    def __init__(self, config: Any, loss_spec: LossSpec) -> None:
        size = config.anchor_image_size or config.eval_size or (640, 640)
        height, width = (size, size) if isinstance(size, int) else size
        normalised = getattr(config.backbone_config, "model_type", None) == "dinov3_vit"
        shown = InputSpec(
            size=(int(height), int(width)),
            mean=IMAGENET_MEAN if normalised else None,
            std=IMAGENET_STD if normalised else None,
            mask=False,
        )
        super().__init__("deimv2", "sigmoid", shown, loss_spec, int(config.num_labels))
        self._config = copy.deepcopy(config)
        self._config.auxiliary_loss = loss_spec.auxiliary

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> Deimv2Family:
        """From a ``Deimv2ForObjectDetection``; the number of classes is its configuration's."""
        return cls(model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        return {"pixel_values": pixel_values}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """No extras: the model's own output holds every layer's logits, boxes and corners."""
        return model(**inputs), {}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        """Auxiliary are the earlier decoder layers alone.

        The first layer's guess before its refinement, which comes first in training, and the encoder's proposals
        belong to the loss only.
        """
        logits = own_field(outputs, "intermediate_logits")
        boxes = own_field(outputs, "intermediate_reference_points")
        layers = list(zip(logits.unbind(1), boxes.unbind(1), strict=True))
        earlier = tuple(layers[-self._config.decoder_layers : -1])
        return Prediction(own_field(outputs, "logits"), own_field(outputs, "pred_boxes"), earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's with ``config.num_denoising = 0``. Meant for outputs in train mode.

        In float32 whatever the model computes in: transformers' losses are.
        """
        from transformers.loss.loss_deimv2 import Deimv2ForObjectDetectionLoss

        def own(name: str) -> Tensor:
            value: Tensor = own_field(outputs, name)
            return value.float()

        logits, boxes = own("logits"), own("pred_boxes")
        total, named, _ = Deimv2ForObjectDetectionLoss(
            logits,
            fitted_labels(labels, boxes),
            logits.device,
            boxes,
            self._config,
            own("intermediate_logits"),
            own("intermediate_reference_points"),
            enc_topk_logits=own("enc_topk_logits"),
            enc_topk_bboxes=own("enc_topk_bboxes"),
            denoising_meta_values=None,
            predicted_corners=own("intermediate_predicted_corners"),
            initial_reference_points=own("initial_reference_points"),
        )
        last = {part: named[name] for name, part in LAST.items()}
        return total, named_parts(total, last, self._config.auxiliary_loss)

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return HEADS.match(key) is not None
