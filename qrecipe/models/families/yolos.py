"""transformers' YOLOS (``YolosForObjectDetection``): a vision transformer with detection tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor, nn

from ...recipe.definition import LossSpec
from .set_family import SetFamily


@final
class YolosFamily(SetFamily):
    """Softmax with a no-object class, DETR's loss on the last layer alone, images padded but given without a mask.

    The position embeddings are interpolated to the image's size, in patches; what is left over at the right and the
    bottom is not seen. ``config.auxiliary_loss`` cannot be used in transformers (it reads the state of all tokens as
    if it were there), and YOLOS was trained without: no layer but the last is read.
    """

    notes: tuple[str, ...] = (
        "YOLOS has no decoder: no cross-attention query to align and no co-attended feature to distil; its detection "
        "tokens are rows of the encoder's self-attention",
        "YOLOS takes no mask: beside a larger image it sees an image's padding, as when it was trained",
    )
    loss_type: ClassVar[str] = "ForObjectDetection"
    heads: ClassVar[re.Pattern[str]] = re.compile(r"class_labels_classifier\.")

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> YolosFamily:
        """From a ``YolosForObjectDetection``; the number of classes is its configuration's."""
        return cls("yolos", "softmax", model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        return {"pixel_values": pixel_values}

    def forward_layers(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """No extras: there are no layers that could be read."""
        return model(**inputs), {}
