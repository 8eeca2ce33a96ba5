"""transformers' Grounding DINO (``GroundingDinoForObjectDetection``), with one prompt for every image."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from ...detection.prediction import Prediction
from ...errors import ModelError
from ...placement import fitted_labels
from ...recipe.definition import InputSpec, LossSpec
from .base import IMAGENET_MEAN, IMAGENET_STD, Family, Labels, full_mask, named_parts, own_field
from .module_outputs import outputs_of

DELIMITERS = (0, 101, 102, 1012, 1029)
"""Padding, [CLS], [SEP], "." and "?" of the BERT vocabulary: what transformers splits a prompt at."""


@final
class GroundingDinoFamily(Family):
    """Sigmoid scores of the prompt's phrases, padded batches with a mask, transformers' own loss and coefficients.

    The prompt is the model's: ``config.prompt_ids``, token ids with a phrase for every class in the order of the
    classes. It is part of the captured graph. A phrase's score is the mean of its tokens' sigmoids, as in the
    evaluation of the published code; logits of a prediction are those of that mean.
    """

    notes: tuple[str, ...] = (
        "the prompt is part of the captured graph: one phrase for each category; for other categories compile again",
    )

    def __init__(self, config: Any, loss_spec: LossSpec) -> None:
        ids = getattr(config, "prompt_ids", None)
        if not ids:
            raise ModelError(
                "this Grounding DINO has no prompt",
                remedy='set model.config.prompt_ids to the tokens of "cat. dog. bird.", a phrase for each class',
            )
        phrases = phrases_of(ids)
        shown = InputSpec(shortest=800, longest=1333, mean=IMAGENET_MEAN, std=IMAGENET_STD, mask=True)
        super().__init__("grounding-dino", "sigmoid", shown, loss_spec, len(phrases))
        self.config = {"prompt_ids": list(ids)}
        self._config = copy.deepcopy(config)
        self._ids = torch.tensor([list(ids)])
        self._map = torch.zeros(len(phrases), int(config.max_text_len), dtype=torch.int64)
        for row, tokens in enumerate(phrases):
            self._map[row, tokens] = 1

    @classmethod
    def of(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> GroundingDinoFamily:
        """From a ``GroundingDinoForObjectDetection`` with a prompt; a class for each of its phrases."""
        return cls(model.config, loss_spec)

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        mask = full_mask(pixel_values) if pixel_mask is None else pixel_mask
        return {"pixel_values": pixel_values, "pixel_mask": mask}

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """Extras in training: ``aux_logits`` (layers - 1, B, Q, tokens) and ``aux_boxes`` (layers - 1, B, Q, 4)."""
        detector: Any = model
        images = inputs["pixel_values"]
        prompt = self._ids.to(images.device).expand(images.shape[0], -1)
        earlier = self._config.decoder_layers - 1
        if not model.training or not self.loss_spec.auxiliary or not earlier:
            return detector(input_ids=prompt, **inputs), {}
        with (
            outputs_of(detector.class_embed[:earlier]) as logits,
            outputs_of(detector.bbox_embed[:earlier]) as deltas,
        ):
            outputs = detector(input_ids=prompt, **inputs)
        later = own_field(outputs, "intermediate_reference_points").unbind(1)
        references = [own_field(outputs, "init_reference_points"), *later][:earlier]
        boxes = [(a + torch.special.logit(b, eps=1e-5)).sigmoid() for a, b in zip(deltas, references, strict=True)]
        return outputs, {"aux_logits": torch.stack(logits), "aux_boxes": torch.stack(boxes)}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        """Logits of phrases, not of tokens."""
        earlier: tuple[tuple[Tensor, Tensor], ...] = ()
        if extras:
            logits = self._of_phrases(extras["aux_logits"])
            earlier = tuple(zip(logits.unbind(), extras["aux_boxes"].unbind(), strict=True))
        return Prediction(self._of_phrases(own_field(outputs, "logits")), own_field(outputs, "pred_boxes"), earlier)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """Equal to the eager model's: focal loss of every token, L1, GIoU; the chosen proposals are ``auxiliary``.

        In float32 whatever the model computes in: transformers' losses are.
        """
        from transformers.loss.loss_grounding_dino import GroundingDinoForObjectDetectionLoss

        logits = own_field(outputs, "logits").float()
        boxes = own_field(outputs, "pred_boxes").float()
        config = copy.copy(self._config)
        config.auxiliary_loss = bool(extras)
        classes, coordinates, proposals = None, None, {}
        if extras:
            classes = torch.cat((extras["aux_logits"].float(), logits[None]))
            coordinates = torch.cat((extras["aux_boxes"].float(), boxes[None]))
        if config.two_stage:
            names = ("encoder_logits", "encoder_pred_boxes")
            proposals = {name: own_field(outputs, name).float() for name in names}
        tokens = torch.arange(logits.shape[-1], device=logits.device) < self._ids.shape[1]
        total, named, _ = GroundingDinoForObjectDetectionLoss(
            logits,
            fitted_labels(labels, boxes),
            logits.device,
            boxes,
            config,
            (self._map.to(logits.device),) * logits.shape[0],
            tokens.expand_as(logits),
            outputs_class=classes,
            outputs_coord=coordinates,
            **proposals,
        )
        last = {
            "class": named["loss_ce"] * 2.0,  # transformers' weight, which is no key of its configuration
            "l1": named["loss_bbox"] * config.bbox_loss_coefficient,
            "giou": named["loss_giou"] * config.giou_loss_coefficient,
        }
        return total, named_parts(total, last, bool(extras) or bool(proposals))

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        """Its class heads compare features with those of the text, and have no weights."""
        return False

    def _of_phrases(self, logits: Tensor) -> Tensor:
        share = (self._map / self._map.sum(1, keepdim=True)).to(logits)
        return torch.logit(logits.sigmoid() @ share.t(), eps=torch.finfo(logits.dtype).eps)


def phrases_of(ids: Sequence[int]) -> list[list[int]]:
    """Positions of the tokens of each phrase of a prompt, phrases being what lies between delimiters."""
    phrases: list[list[int]] = []
    for position, token in enumerate(ids):
        if token in DELIMITERS:
            continue
        if position == 0 or ids[position - 1] in DELIMITERS:
            phrases.append([])
        phrases[-1].append(position)
    return phrases
