"""One's own detector: any module whose output names its logits and boxes, with the built-in DETR criterion."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from ...detection.criterion import Criterion
from ...detection.prediction import Prediction
from ...errors import ModelError
from ...placement import placement_of
from ...recipe.definition import InputSpec, LossSpec
from .base import Family, Labels, full_mask, own_field
from .module_outputs import repeated_calls, same_random_numbers
from .nested import ADAPTER, asks_for_nested, nested_type

LOGITS = ("logits", "pred_logits")
BOXES = ("pred_boxes", "boxes")
AUXILIARY = ("aux_outputs", "auxiliary_outputs", "auxiliary")
SCORES: dict[str, Literal["softmax", "sigmoid"]] = {"cross_entropy": "softmax", "focal": "sigmoid"}
FAR = 2.0
"""Boxes of untrained heads without a sigmoid may leave 0..1; pixels go far beyond."""
REMEDY = (
    "return a dict with 'logits' (batch, queries, classes) and 'pred_boxes' (batch, queries, 4), cxcywh in 0..1, "
    "and in training 'aux_outputs', a list of such dicts"
)


@final
class GenericFamily(Family):
    """Outputs read by name from a dict, a ModelOutput or an object.

    logits: ``logits`` or ``pred_logits``. boxes: ``pred_boxes`` or ``boxes``. Earlier layers, where there are any:
    ``aux_outputs`` or ``auxiliary_outputs``, a sequence of dicts with the same names, or ``auxiliary``, a sequence
    of (logits, boxes). Images go to the parameter ``pixel_values``, or to the first one; a parameter ``pixel_mask``
    gets the mask. Where the first one wants both in one object, as a NestedTensor, such an object is made.

    nested: its class, or None.
    """

    def __init__(
        self,
        name: str,
        scores: Literal["softmax", "sigmoid"],
        default_input: InputSpec,
        loss_spec: LossSpec,
        classes: int,
        parameter: str,
        nested: type | None = None,
    ) -> None:
        super().__init__(name, scores, default_input, loss_spec, classes)
        self.parameter = parameter
        self.nested = nested
        self._criterion = Criterion(classes, loss_spec, scores)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        loss_spec: LossSpec,
        classes: int | None = None,
        size: tuple[int, int] = (256, 256),
    ) -> GenericFamily:
        """From any detector, run on blank images in both modes to see its output. Nothing in the model changes.

        Args:
            size: (height, width) of the images, in pixels.
            classes: what the factory was told, or None. The scores follow ``train.loss.classification``; without it a
                head with one column more than ``classes`` is read as a softmax, any other as sigmoids.

        Raises:
            ModelError: the forward or its output cannot be read.
        """
        parameter, masked = _parameters(model)
        nested = None if masked else nested_type(model, parameter)
        shown = InputSpec(size=(640, 640), mask=masked or nested is not None)
        trial = cls("generic", "sigmoid", shown, LossSpec(), 1, parameter, nested)
        with repeated_calls(model) as notes:
            logits, boxes = _outputs(model, trial, _blank(model, 1, *size))
        columns = int(logits.shape[-1])
        _check_training(model, trial, _blank(model, 2, *size))  # of one image a BatchNorm may have one value
        if loss_spec.classification is not None:
            scores = SCORES[loss_spec.classification]
        else:
            scores = "softmax" if classes is not None and columns == classes + 1 else "sigmoid"
        family = cls("generic", scores, shown, loss_spec, columns - (scores == "softmax"), parameter, nested)
        family.notes = (*notes, *_beyond(boxes))
        return family

    @classmethod
    def demo(cls, model: nn.Module, loss_spec: LossSpec, classes: int | None = None) -> GenericFamily:
        """The built-in demo detector: 128x128 images in 0..1, sigmoid scores."""
        demo: Any = model
        return cls(
            "demo", "sigmoid", InputSpec(size=(128, 128), mask=False), loss_spec, demo.num_labels, "pixel_values"
        )

    def inputs(self, pixel_values: Tensor, pixel_mask: Tensor | None) -> dict[str, Tensor]:
        given = {"pixel_values" if self.nested else self.parameter: pixel_values}
        if self.default_input.mask:
            given["pixel_mask"] = full_mask(pixel_values) if pixel_mask is None else pixel_mask
        return given

    def forward(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
        """No extras: what the loss needs is in the model's own output."""
        if self.nested is None:
            return model(**inputs), {}
        both = self.nested(tensors=inputs["pixel_values"], mask=inputs["pixel_mask"] == 0)
        return model(**{self.parameter: both}), {}

    def read(self, outputs: Any, extras: Mapping[str, Tensor]) -> Prediction:
        logits, boxes = _heads(outputs)
        earlier = own_field(outputs, *AUXILIARY)
        if earlier is not None and not isinstance(earlier, list | tuple):
            raise ModelError(f"its auxiliary outputs are a {type(earlier).__name__}", remedy=REMEDY)
        return Prediction(logits, boxes, tuple(_heads(layer) for layer in earlier or ()))

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        return self._criterion(self.read(outputs, extras), labels)

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        """A layer whose outputs alone differ in number, and are the classes, with or without a no-object column."""
        same_inputs = len(built) == len(stored) and list(built[1:]) == list(stored[1:])
        return same_inputs and built[0] in (self.classes, self.classes + 1)


def _parameters(model: nn.Module) -> tuple[str, bool]:
    """The parameter of forward that takes the images, and whether there is a ``pixel_mask``."""
    parameters = inspect.signature(model.forward).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    usable = [name for name, parameter in parameters.items() if parameter.kind in kinds]
    if not usable:
        raise ModelError(
            "its forward has no parameter that can be given by name",
            where=type(model).__name__,
            remedy="give it one for the images: def forward(self, pixel_values)",
        )
    images = "pixel_values" if "pixel_values" in usable else usable[0]
    return images, "pixel_mask" in usable


def _blank(model: nn.Module, batch: int, height: int, width: int) -> Tensor:
    placement = placement_of(model)
    return torch.zeros(batch, 3, height, width, dtype=placement.dtype, device=placement.device)


@torch.no_grad()
def _outputs(model: nn.Module, family: GenericFamily, blank: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and boxes of one forward in eval mode."""
    training = model.training
    model.eval()
    try:
        outputs, _ = family.forward(model, family.inputs(blank, None))
    except Exception as error:  # whatever one's own code may raise
        raise ModelError(
            f"it fails on a blank {tuple(blank.shape)} image: {type(error).__name__}: {error}",
            where=type(model).__name__,
            remedy=ADAPTER if asks_for_nested(error) else "model.input.size is the size (height, width) that is tried",
        ) from error
    finally:
        model.train(training)
    _make_capturable(outputs)
    logits, boxes = _heads(outputs)
    if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4):
        raise ModelError(
            f"its logits are {tuple(logits.shape)} and its boxes {tuple(boxes.shape)}",
            where=type(model).__name__,
            remedy=REMEDY,
        )
    return logits, boxes


def _beyond(boxes: Tensor) -> list[str]:
    """A note on boxes that look like pixels: anything would be trained with them, to no end."""
    largest = float(boxes.abs().max()) if boxes.numel() else 0.0
    if not largest > FAR:  # nor where it is no number
        return []
    return [f"its boxes reach {largest:.3g} on a blank image: they are read as cxcywh in 0..1, not as pixels"]


@torch.no_grad()
def _check_training(model: nn.Module, family: GenericFamily, blank: Tensor) -> None:
    """What a copy of the model returns in training can be read too. One that fails there is the capture's to tell."""
    try:
        with torch.random.fork_rng(), same_random_numbers():
            outputs, extras = family.forward(copy.deepcopy(model).train(), family.inputs(blank, None))
    except Exception:
        return
    try:
        family.read(outputs, extras)
    except ModelError as problem:
        raise ModelError(f"in training: {problem.what}", where=type(model).__name__, remedy=REMEDY) from problem


def _make_capturable(outputs: Any) -> None:
    """torch.export flattens dicts, tuples and ModelOutputs by itself, and a dataclass once it is told of it."""
    if isinstance(outputs, Mapping | tuple) or not dataclasses.is_dataclass(outputs):
        return
    if torch.utils._pytree.tree_flatten(outputs)[1].is_leaf():
        torch.export.register_dataclass(type(outputs))


def _heads(outputs: Any) -> tuple[Tensor, Tensor]:
    if isinstance(outputs, tuple) and not hasattr(outputs, "_fields"):
        logits, boxes = outputs if len(outputs) == 2 else (None, None)
    else:
        logits, boxes = own_field(outputs, *LOGITS), own_field(outputs, *BOXES)
    if isinstance(logits, Tensor) and isinstance(boxes, Tensor):
        return logits, boxes
    found = f"the keys {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ModelError(f"no logits and boxes in its output, which has {found}", remedy=REMEDY)
