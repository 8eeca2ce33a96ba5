"""What one's own detector returns: logits, boxes, those of other layers, and what is not read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ...detection.prediction import Prediction
from ...errors import ModelError
from .base import own_field

LOGITS = ("logits", "pred_logits")
BOXES = ("pred_boxes", "boxes")
AUXILIARY = ("aux_outputs", "auxiliary_outputs", "auxiliary")
BESIDE = ("enc_aux_outputs", "pre_outputs", "enc_outputs", "interm_outputs")
"""Outputs of heads beside the decoder's, as RT-DETR, D-FINE, two-stage Deformable DETR and DINO name them: one layer or
several, trained like earlier layers."""
REMEDY = (
    "return a dict with 'logits' (batch, queries, classes) and 'pred_boxes' (batch, queries, 4), cxcywh in 0..1, "
    "and in training 'aux_outputs', a list of such dicts"
)


def read_outputs(outputs: Any) -> Prediction:
    """Logits and boxes by their names, and those of other layers: ``AUXILIARY``, then ``BESIDE``.

    Raises:
        ModelError: no logits and boxes, or auxiliary outputs that are none.
    """
    logits, boxes = logits_and_boxes(outputs)
    earlier = own_field(outputs, *AUXILIARY)
    if earlier is not None and not isinstance(earlier, list | tuple):
        raise ModelError(f"its auxiliary outputs are a {type(earlier).__name__}", remedy=REMEDY)
    layers = [logits_and_boxes(layer) for layer in earlier or ()]
    for name in BESIDE:
        layers += _beside(own_field(outputs, name), logits.shape[-1])
    return Prediction(logits, boxes, tuple(layers))


def unread_names(outputs: Any) -> tuple[str, ...]:
    """The names of tensors in an output that ``read_outputs`` takes nothing from."""
    known = _fields(outputs)
    logits, _ = logits_and_boxes(outputs)
    read = {_first(known, names) for names in (LOGITS, BOXES, AUXILIARY)}
    read |= {name for name in BESIDE if _beside(known.get(name), logits.shape[-1])}
    return tuple(name for name, value in known.items() if name not in read and _holds_tensor(value))


def logits_and_boxes(outputs: Any) -> tuple[Tensor, Tensor]:
    """Of one layer, from a pair or by their names. Raises: ModelError: there are none."""
    if isinstance(outputs, tuple) and not hasattr(outputs, "_fields"):
        logits, boxes = outputs if len(outputs) == 2 else (None, None)
    else:
        logits, boxes = own_field(outputs, *LOGITS), own_field(outputs, *BOXES)
    if isinstance(logits, Tensor) and isinstance(boxes, Tensor):
        return logits, boxes
    found = f"the keys {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ModelError(f"no logits and boxes in its output, which has {found}", remedy=REMEDY)


def make_capturable(outputs: Any) -> None:
    """torch.export flattens dicts, tuples and ModelOutputs by itself, and a dataclass once it is told of it."""
    if isinstance(outputs, Mapping | tuple) or not dataclasses.is_dataclass(outputs):
        return
    if pytree.tree_flatten(outputs)[1].is_leaf():
        torch.export.register_dataclass(type(outputs))


def _beside(value: Any, columns: int) -> list[tuple[Tensor, Tensor]]:
    """The layers of a head beside the decoder's; none where they cannot be trained with the same classes."""
    layers = value if isinstance(value, list | tuple) else [value]
    try:
        found = [logits_and_boxes(layer) for layer in layers]
    except ModelError:
        return []
    fits = all(logits.ndim == 3 and logits.shape[-1] == columns and boxes.shape[-1] == 4 for logits, boxes in found)
    return found if fits else []


def _fields(outputs: Any) -> dict[str, Any]:
    """An output's values by name; those of a pair by their place in it."""
    if isinstance(outputs, Mapping):
        return {str(name): value for name, value in outputs.items()}
    if dataclasses.is_dataclass(outputs):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    names: Sequence[str] = getattr(outputs, "_fields", ("logits", "boxes"))
    return {name: getattr(outputs, name, None) for name in names}


def _first(known: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if known.get(name) is not None), None)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))
