"""transformers' LW-DETR and RF-DETR: several groups of queries in training, of which evaluation uses the first."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...detection.prediction import Prediction
from ...placement import fitted_labels
from ...recipe.definition import InputSpec, LossSpec
from .base import IMAGENET_MEAN, IMAGENET_STD, Family, Labels, full_mask, named_parts, own_field

HEADS = re.compile(r"(class_embed|model\.enc_out_class_embed\.\d+)\.(weight|bias)$")


@dataclass(frozen=True)
class Grouped:
    """One of these detectors. name: its family. loss: its row of transformers' ``LOSS_MAPPING``. size: side of its
    square images; None is the backbone's own."""

    name: str
    loss: str
    size: int | None


@final
class GroupedFamily(Family):
    """Sigmoid scores, normalised images of one fixed square size, transformers' own loss with its own coefficients.

    Training: ``group_detr`` groups (13 in the published models) of ``num_queries`` queries share the decoder, and each
    group is matched with all objects. Evaluation has the first group alone: the two programs differ in the number
    of queries.

    Sizes: the backbone attends in windows, so height and width must be multiples of patch size times windows per side.
    Any other size is padded to the next one, right and below, and masked. The backbone adds its position embedding as
    stored to a square image of its pre-training size, and resized to any other. Both are one graph: a capture takes
    an image that is not square, and resizing to the same size changes nothing, so that the graph is right there too.
    """

    def __init__(self, variant: Grouped, config: Any, loss_spec: LossSpec) -> None:
        self.variant = variant
        backbone = config.backbone_config
        side = variant.size or _side(backbone.image_size)
        shown = InputSpec(size=(side, side), mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=False)
        super().__init__(variant.name, "sigmoid", shown, loss_spec, int(config.num_labels))
        # RF-DETR counts the windows of a side, LW-DETR those of an image.
        windows = getattr(backbone, "num_windows_side", backbone.num_windows)
        self.stride = _side(backbone.patch_size) * int(windows)
        self.groups = int(config.group_detr)
        self._config = copy.deepcopy(config)
        self._config.auxiliary_loss = loss_spec.auxiliary

    @classmethod
    def of(cls, variant: Grouped, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> GroupedFamily:
        """From such a detector; the number of classes is its configuration's."""
        return cls(variant, model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        """Images and masks, padded to multiples of the windows. Boxes stay relative to the image without padding."""
        mask = full_mask(pixel_values) if pixel_mask is None else pixel_mask
        height, width = pixel_values.shape[-2:]
        room = (0, -width % self.stride, 0, -height % self.stride)
        if any(room):
            pixel_values, mask = F.pad(pixel_values, room), F.pad(mask, room)
        return {"pixel_values": pixel_values, "pixel_mask": mask}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Extras in training: ``aux_logits`` (layers - 1, B, groups * Q, C), ``aux_boxes`` (layers - 1, B, ..., 4)."""
        if not model.training or not self.loss_spec.auxiliary or self._config.decoder_layers < 2:
            return model(**inputs), {}
        with _every_layer(model) as read:
            outputs = model(**inputs)
        (logits, deltas), reference = read, outputs.intermediate_reference_points
        # As the model decodes its last layer's: a shift in units of the reference box, and a log scale.
        centre = deltas[:-1, ..., :2] * reference[..., 2:] + reference[..., :2]
        boxes = torch.cat((centre, deltas[:-1, ..., 2:].exp() * reference[..., 2:]), -1)
        return outputs, {"aux_logits": logits[:-1], "aux_boxes": boxes}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        """In training the queries of all groups, one group after the other."""
        earlier: tuple[tuple[Tensor, Tensor], ...] = ()
        if extras:
            earlier = tuple(zip(extras["aux_logits"].unbind(), extras["aux_boxes"].unbind(), strict=True))
        return Prediction(own_field(outputs, "logits"), own_field(outputs, "pred_boxes"), earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's: every group matched on its own, the encoder's proposals always included.

        The proposals are counted as ``auxiliary``. Meant for outputs in train mode. In float32 whatever the model
        computes in: transformers' losses are.
        """
        from transformers.loss.loss_utils import LOSS_MAPPING

        def own(name: str) -> Tensor:
            value: Tensor = own_field(outputs, name)
            return value.float()

        logits, boxes = own("logits"), own("pred_boxes")
        config = copy.copy(self._config)
        config.auxiliary_loss = bool(extras)
        classes, coordinates = None, None
        if extras:
            classes = torch.cat((extras["aux_logits"].float(), logits[None]))
            coordinates = torch.cat((extras["aux_boxes"].float(), boxes[None]))
        total, named, _ = LOSS_MAPPING[self.variant.loss](
            logits,
            fitted_labels(labels, boxes),
            logits.device,
            boxes,
            config,
            classes,
            coordinates,
            own("enc_outputs_class"),
            own("enc_outputs_coord_logits"),
        )
        last = {
            "class": named["loss_ce"] * config.class_loss_coefficient,
            "l1": named["loss_bbox"] * config.bbox_loss_coefficient,
            "giou": named["loss_giou"] * config.giou_loss_coefficient,
        }
        return total, named_parts(total, last, True)

    def _divisor(self, objects: int) -> float:
        """Every group is matched with all objects; without any, transformers divides by 1."""
        return max(objects * int(self._config.group_detr), 1)

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return HEADS.match(key) is not None


@contextmanager
def _every_layer(model: Any) -> Iterator[list[Tensor]]:
    """While it is entered, the heads read the states of all decoder layers, and the model goes on with the last one's.

    One call, not two: in evaluation there is one as well, and a call must have its counterpart there to be quantized
    alike. Yields a list that gets what the class head, then what the box head gave: (layers, B, queries, width).
    """
    states: list[Tensor] = []
    read: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
        states.append(output.intermediate_hidden_states)

    def widen(_module: nn.Module, _arguments: Any) -> Tensor:
        return states[-1]

    def narrow(_module: nn.Module, _arguments: Any, output: Tensor) -> Tensor:
        read.append(output)
        return output[-1]

    hooks = [model.model.decoder.register_forward_hook(keep)]
    for head in (model.class_embed, model.bbox_embed):
        hooks += [head.register_forward_pre_hook(widen), head.register_forward_hook(narrow)]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size[0])
