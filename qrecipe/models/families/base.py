"""What qrecipe must know about a kind of detector, and nothing that needs the module itself after its capture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...detection.prediction import Prediction
from ...processes import Whole
from ...recipe.definition import InputSpec, LossSpec
from .alone import alone

Labels = Sequence[Mapping[str, Tensor]]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Family(ABC):
    """How inputs are prepared, outputs read, scores made, and which detection loss applies.

    A family is made from a model once (``build_family``), keeps the model's configuration but not the model, and then
    serves the model, its captured graph and its quantized student alike.

    name: its row in ``FAMILIES``.
    notes: what is left out, in sentences for the report.
    scores: ``softmax`` (the last logit is no-object) or ``sigmoid``.
    default_input: concrete; ``mean`` None means that values stay in 0..1.
    loss_spec: the recipe's ``train.loss``.
    classes: size of the class head, no-object not counted.
    denoising: whether training uses a denoising branch.
    groups: of queries in training, one after the other, of which evaluation has the first.
    config: what the model was given beside its recipe and weights, as keys of ``model.config`` that rebuild it.
    """

    notes: tuple[str, ...] = ()
    denoising: bool = False
    groups: int = 1
    config: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        name: str,
        scores: Literal["softmax", "sigmoid"],
        default_input: InputSpec,
        loss_spec: LossSpec,
        classes: int,
    ) -> None:
        self.name = name
        self.scores: Literal["softmax", "sigmoid"] = scores
        self.default_input = default_input
        self.loss_spec = loss_spec
        self.classes = classes

    @abstractmethod
    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        """Keyword arguments of the model's forward, always the same ones for a family.

        Args:
            pixel_values: (batch, 3, height, width). pixel_mask: (batch, height, width), 1 is image; None is all image.
        """

    def training_inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None, labels: Labels) -> dict[str, Tensor]:
        """``inputs``, with what a denoising branch makes of the labels. May draw random numbers."""
        return self.inputs(pixel_values, pixel_mask)

    @abstractmethod
    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """The model's own output, and what the loss needs beside it while ``model.training``.

        This is what ``torch.export`` (non-strict) captures, in train and in eval mode.
        """

    @abstractmethod
    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        """Logits, boxes, and those of earlier decoder layers, from what ``forward`` returned."""

    @abstractmethod
    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        """The detection loss, with a graph, and its parts: detached scalars that sum to it.

        parts: ``class``, ``l1``, ``giou`` of the last layer, ``corners`` where it has a loss for them, ``denoising`` of
        a branch for it, and ``auxiliary``: everything of the earlier layers.
        """

    def part_of_loss(
        self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels, whole: Whole
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``loss`` of a batch that is a part of a step: their mean over the parts is the loss of all of it at once.

        So it is where losses are sums over objects or queries, divided by the number of objects. Those of D-FINE and
        DEIMv2 hold means over what was predicted besides, which are of the batch alone.
        """
        with alone():
            total, parts = self.loss(outputs, extras, labels)
        factor = self._box_factor(labels, whole)
        return total * factor, {name: value * factor for name, value in parts.items()}

    def _box_factor(self, labels: Labels, whole: Whole) -> float:
        own = self._divisor(sum(len(label["class_labels"]) for label in labels))
        return own / self._divisor(sum(whole.objects)) * whole.parts

    def _divisor(self, objects: int) -> float:
        """What ``loss`` divides by, but for a factor, where a batch has so many objects."""
        return max(objects, 1)

    @abstractmethod
    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        """Whether a state_dict key whose two shapes differ belongs to a class head, and may start afresh."""

    def input(self, override: InputSpec) -> InputSpec:
        """The default with the recipe's values over it."""
        return merged_input(self.default_input, override)


def merged_input(base: InputSpec, override: InputSpec) -> InputSpec:
    """An input with the values of another over it. ``size``, ``within``, or ``shortest`` with ``longest``: one of them
    replaces the others."""
    none = replace(base, size=None, shortest=None, longest=None, within=None)
    merged = base
    if override.size is not None:
        merged = replace(none, size=override.size, multiple=None)
    elif override.within is not None:
        merged = replace(none, within=override.within, multiple=None)
    elif override.shortest is not None or override.longest is not None:
        shortest, longest = override.shortest or base.shortest, override.longest or base.longest
        merged = replace(none, shortest=shortest, longest=longest)
    keys = ("multiple", "mean", "std", "mask", "grey_range")
    return replace(merged, **{key: getattr(override, key) for key in keys if getattr(override, key) is not None})


def full_mask(pixel_values: Tensor) -> Tensor:
    """(batch, height, width) int64 ones: the whole of every image is image."""
    return torch.ones_like(pixel_values[:, 0], dtype=torch.int64)


def own_field(outputs: Any, *names: str) -> Any:
    """The first of the names that a dict, a ModelOutput or an object has with a value, or None."""
    for name in names:
        value = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if value is not None:
            return value
    return None


def named_parts(total: Tensor, last: Mapping[str, Tensor], earlier: bool) -> dict[str, Tensor]:
    """Detached parts that sum to the total: those of the last layer by name, and the rest as ``auxiliary``, if any."""
    parts = {name: value.detach() for name, value in last.items()}
    if earlier:
        parts["auxiliary"] = total.detach() - torch.stack(list(parts.values())).sum()
    return parts
