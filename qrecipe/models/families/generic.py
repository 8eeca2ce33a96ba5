"""One's own detector: any module whose output names its logits and boxes, with the built-in DETR criterion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from torch import Tensor, nn

from ...detection.criterion import Criterion
from ...detection.prediction import Prediction
from ...processes import Whole
from ...recipe.definition import InputSpec, LossSpec
from .base import Family, Labels, full_mask
from .module_outputs import repeated_calls
from .nested import nested_type
from .own_outputs import read_outputs
from .own_trial import beyond, image_parameter, try_evaluation, try_training

SCORES: dict[str, Literal["softmax", "sigmoid"]] = {"cross_entropy": "softmax", "focal": "sigmoid"}


@final
class GenericFamily(Family):
    """Outputs read by name from a dict, a ModelOutput or an object.

    logits: ``logits`` or ``pred_logits``. boxes: ``pred_boxes`` or ``boxes``. Earlier layers, where there are any:
    ``aux_outputs`` or ``auxiliary_outputs``, a sequence of dicts with the same names, or ``auxiliary``, a sequence
    of (logits, boxes). Heads beside the decoder's, such as ``enc_outputs``, are trained like them.

    Images go to the parameter ``pixel_values``, or to the first one; a parameter ``pixel_mask`` gets the mask. Where
    the first one wants both in one object, as a NestedTensor, such an object is made.

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
        parameter, masked = image_parameter(model)
        nested = None if masked else nested_type(model, parameter)
        shown = InputSpec(size=(640, 640), mask=masked or nested is not None)
        trial = cls("generic", "sigmoid", shown, LossSpec(), 1, parameter, nested)
        given = [parameter, *(["pixel_mask"] if masked else [])]

        def forward(module: nn.Module, images: Tensor) -> Any:
            return trial.forward(module, trial.inputs(images, None))[0]

        with repeated_calls(model) as notes:
            logits, boxes = try_evaluation(model, forward, given, size)
        unread = try_training(model, forward, given, size)
        columns = int(logits.shape[-1])
        if loss_spec.classification is not None:
            scores = SCORES[loss_spec.classification]
        else:
            scores = "softmax" if classes is not None and columns == classes + 1 else "sigmoid"
        family = cls("generic", scores, shown, loss_spec, columns - (scores == "softmax"), parameter, nested)
        family.notes = (*notes, *beyond(boxes), *unread)
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
        return read_outputs(outputs)

    def loss(self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels) -> tuple[Tensor, dict[str, Tensor]]:
        return self._criterion(self.read(outputs, extras), labels)

    def part_of_loss(
        self, outputs: Any, extras: Mapping[str, Tensor], labels: Labels, whole: Whole
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self._criterion(self.read(outputs, extras), labels, whole)

    def is_head(self, key: str, built: Sequence[int], stored: Sequence[int]) -> bool:
        """A layer whose outputs alone differ in number, and are the classes, with or without a no-object column."""
        same_inputs = len(built) == len(stored) and list(built[1:]) == list(stored[1:])
        return same_inputs and built[0] in (self.classes, self.classes + 1)
