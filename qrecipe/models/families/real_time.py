"""transformers' real-time detectors: RT-DETR, RT-DETRv2, D-FINE, DEIMv2."""

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ...detection.prediction import Prediction
from ...errors import ModelError
from ...placement import fitted_labels
from ...recipe.definition import InputSpec, LossSpec
from .base import IMAGENET_MEAN, IMAGENET_STD, Family, Labels, named_parts, own_field
from .denoising import denoising, meta_values, no_noise, noised

HEADS = re.compile(
    r"((model\.decoder\.)?class_embed(\.\d+)?|model\.enc_score_head|model\.denoising_class_embed)\.(weight|bias)$"
)


@dataclass(frozen=True)
class RealTime:
    """One of these detectors. name: its family, and its module in transformers. title: as people write it. criterion:
    module and class of transformers' loss. class_loss: its part there."""

    name: str
    title: str
    criterion: str
    class_loss: str = "loss_vfl"


@final
class RealTimeFamily(Family):
    """Sigmoid scores, images of one fixed size in 0..1, transformers' own loss with its own coefficients.

    The size is the configuration's ``anchor_image_size`` or ``eval_size`` where it has one, else 640x640; any other of
    which height and width are multiples of the coarsest stride may be chosen. Images are not normalised, but for
    backbones of DINOv3.

    Training uses the denoising branch where the model has one (``config.num_denoising``), unless ``train.loss`` turns
    it or the auxiliary losses off, of which it is one. Its queries stand before the model's own in what training
    returns; predictions leave them out.
    """

    def __init__(self, variant: RealTime, config: Any, loss_spec: LossSpec) -> None:
        size = config.anchor_image_size or config.eval_size or (640, 640)
        height, width = (size, size) if isinstance(size, int) else size
        normalised = getattr(config.backbone_config, "model_type", None) == "dinov3_vit"
        shown = InputSpec(
            size=(int(height), int(width)),
            mean=IMAGENET_MEAN if normalised else None,
            std=IMAGENET_STD if normalised else None,
            mask=False,
        )
        super().__init__(variant.name, "sigmoid", shown, loss_spec, int(config.num_labels))
        self.variant = variant
        self.stride = int(max(config.feat_strides))
        self._config = copy.deepcopy(config)
        self._config.auxiliary_loss = loss_spec.auxiliary
        self.denoising = loss_spec.auxiliary and loss_spec.denoising is not False and config.num_denoising > 0
        if not self.denoising:
            why = "train.loss.denoising is false"
            if not config.num_denoising:
                why = "the model was made without one"
            elif not loss_spec.auxiliary:
                why = "it is one of the auxiliary losses, and train.loss.auxiliary is false"
            self.notes = (f"the denoising branch is not used in training: {why}",)

    @classmethod
    def of(cls, variant: RealTime, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> RealTimeFamily:
        """From such a detector; the number of classes is its configuration's."""
        return cls(variant, model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        """The images alone: these detectors know no padding. With denoising, also queries that stand for nothing.

        Raises:
            ModelError: height or width is no multiple of the coarsest stride, so that the levels would not align.
        """
        height, width = pixel_values.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ModelError(
                f"{self.variant.title} takes images whose height and width are multiples of {self.stride}, "
                f"not {height}x{width}",
                where="model.input.size",
                remedy="set model.input.size to such a size",
            )
        return {"pixel_values": pixel_values, **(no_noise(self._config, pixel_values) if self.denoising else {})}

    def training_inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None, labels: Labels) -> dict[str, Tensor]:
        """``inputs``, with noised copies of the objects as queries."""
        given = self.inputs(pixel_values, pixel_mask)
        return given | noised(self.name, self._config, labels, pixel_values) if self.denoising else given

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """No extras: the model's own output holds every layer's logits, boxes and corners."""
        images = inputs["pixel_values"]
        with any_size(model):
            if not (self.denoising and model.training):
                return model(pixel_values=images), {}
            with denoising(model, self.name, inputs, int(self._config.num_queries)):
                return model(pixel_values=images), {}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        """Auxiliary are the earlier decoder layers alone; in evaluation only DEIMv2 and D-FINE leave them out.

        A first guess before the first layer's refinement, which D-FINE and DEIMv2 put first in training, and the
        encoder's proposals belong to the loss only.
        """
        own = self._own_queries()
        layers = self._layers(outputs, own)
        earlier = tuple((layer["logits"], layer["pred_boxes"]) for layer in layers[-self._config.decoder_layers : -1])
        return Prediction(own_field(outputs, "logits")[:, own], own_field(outputs, "pred_boxes")[:, own], earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """transformers' own criterion on the last layer, and where asked for on what comes before it.

        RT-DETR's equals the eager model's, given the same noise. D-FINE and DEIMv2 put their first guess
        before the layers' logits and boxes, but not before their corners: transformers pairs each layer's corners with
        the logits and boxes of the one before, leaves the last but one out, and never trains the last layer's corners.
        Here each layer, the last one too, has its own corners, and the first guess, which has none, is trained as the
        encoder's proposals are; so does the published code. docs/results.md has what that is worth.

        Meant for outputs in train mode. In float32 whatever the model computes in: transformers' losses are.

        Raises:
            ModelError: the outputs' denoising queries are not those of these labels.
        """
        own = self._own_queries()
        *earlier, given = self._trained(outputs, own)
        boxes = given["pred_boxes"]
        targets = fitted_labels(labels, boxes)
        extra: dict[str, Any] = {}
        if self._config.auxiliary_loss:
            extra["auxiliary_outputs"] = [*earlier, *self._guesses(outputs, own), _proposals(outputs)]
        made = own_field(outputs, "logits").shape[1] - boxes.shape[1]  # none in evaluation
        if made and any(len(target["class_labels"]) for target in targets):
            meta = meta_values(self._config, targets)
            noise = slice(meta["dn_num_split"][0])
            if made != noise.stop:
                raise ModelError(
                    f"these labels need {noise.stop} denoising queries, and the outputs have {made}",
                    where=self.variant.title,
                    remedy="make the inputs of a training step with family.training_inputs and the same labels, or set "
                    "train.loss.denoising to false",
                )
            layers = [*self._trained(outputs, noise), *self._guesses(outputs, noise)]
            extra |= {"dn_auxiliary_outputs": layers, "denoising_meta_values": meta}
        module, _, name = self.variant.criterion.rpartition(".")
        criterion = getattr(importlib.import_module(f"transformers.loss.{module}"), name)(self._config).to(boxes.device)
        named = criterion({**given, **extra}, targets)
        total = torch.stack([value.sum() for value in named.values()]).sum()
        last = {"class": named[self.variant.class_loss], "l1": named["loss_bbox"], "giou": named["loss_giou"]}
        if "pred_corners" in given:
            last["corners"] = named["loss_fgl"]
        if "dn_auxiliary_outputs" in extra:
            last["denoising"] = torch.stack([value.sum() for name, value in named.items() if "_dn_" in name]).sum()
        return total, named_parts(total, last, self._config.auxiliary_loss)

    def _own_queries(self) -> slice:
        """The queries that predict: the last ones, behind those of a denoising branch."""
        return slice(-int(self._config.num_queries), None)

    def _layers(self, outputs: Any, queries: slice) -> list[dict[str, Tensor]]:
        """Logits and boxes of some queries after every decoder layer; a first guess before them where there is one."""
        logits = own_field(outputs, "intermediate_logits")[:, :, queries].unbind(1)
        boxes = own_field(outputs, "intermediate_reference_points")[:, :, queries].unbind(1)
        return [{"logits": a, "pred_boxes": b} for a, b in zip(logits, boxes, strict=True)]

    def _trained(self, outputs: Any, queries: slice) -> list[dict[str, Tensor]]:
        """What some queries are trained on after every decoder layer. A layer learns its corners' distribution from
        the objects (D-FINE's fine-grained localization) and from the last layer, which has itself for a teacher."""
        layers = [_in_float32(layer) for layer in self._layers(outputs, queries)[-self._config.decoder_layers :]]
        corners = own_field(outputs, "intermediate_predicted_corners")
        if corners is not None:
            references = own_field(outputs, "initial_reference_points").float()[:, -len(layers) :, queries].unbind(1)
            fine = corners.float()[:, -len(layers) :, queries].unbind(1)
            for index, layer in enumerate(layers):
                layer |= {"pred_corners": fine[index], "ref_points": references[index]}
                layer |= {"teacher_corners": fine[-1], "teacher_logits": layers[-1]["logits"]}
        return layers

    def _guesses(self, outputs: Any, queries: slice) -> list[dict[str, Tensor]]:
        """The first guess before all layers, where there is one. It has no corners."""
        return [_in_float32(layer) for layer in self._layers(outputs, queries)[: -self._config.decoder_layers]]

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        return HEADS.match(key) is not None


def _proposals(outputs: Any) -> dict[str, Tensor]:
    """The encoder's, of the model's own queries alone."""
    found = {"logits": own_field(outputs, "enc_topk_logits"), "pred_boxes": own_field(outputs, "enc_topk_bboxes")}
    return _in_float32(found)


def _in_float32(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Boxes in 0..1 too: those that are decoded from corners can pass the image's edge."""
    return {"logits": layer["logits"].float(), "pred_boxes": layer["pred_boxes"].float().clamp(0, 1)}


@contextmanager
def any_size(model: nn.Module) -> Iterator[None]:
    """While it is entered, anchors and position embeddings are computed from the image, in evaluation as in training.

    With ``config.anchor_image_size`` the model would use anchors that were computed for that size when it was built,
    and fail at another; at that size both are the same numbers. With ``config.eval_size`` transformers leaves the
    encoder's position embedding out in evaluation altogether, where the published code uses the one of that size:
    here it is always added. The model is left as it was.
    """
    settings = [(part, "eval_size") for part in model.modules()]
    settings += [(config, "anchor_image_size") for config in {id(c): c for c in _configs(model)}.values()]
    kept = [(owner, name, getattr(owner, name)) for owner, name in settings if getattr(owner, name, None) is not None]
    for owner, name, _ in kept:
        setattr(owner, name, None)
    try:
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def _configs(model: nn.Module) -> list[Any]:
    return [part.config for part in model.modules() if hasattr(part, "config")]
