"""Which family a model belongs to."""

from __future__ import annotations

from torch import nn

from ...errors import ModelError
from ...recipe.definition import LossSpec
from ...suggestions import hint
from .base import Family
from .generic import GenericFamily
from .table import FAMILIES, architectures

UNKNOWN_SIZE = (256, 256)
"""(height, width) of the images at which one's own module is tried where nothing says what it takes."""
TRANSFORMERS = "transformers.PreTrainedModel"


def find_family(model: nn.Module) -> str:
    """The family of a model by its class or a base class of it; ``generic`` for one's own module.

    Raises:
        ModelError: a detector of transformers that no family knows.
    """
    own = [f"{base.__module__.partition('.')[0]}.{base.__qualname__}" for base in type(model).__mro__]
    reads = {row.model: name for name, row in FAMILIES.items() if row.model is not None}
    for name in own:
        if name in reads:
            return reads[name]
    if TRANSFORMERS in own:
        raise _unknown(type(model).__name__)
    return "generic"


def family_of_type(model_type: str) -> str:
    """The family of transformers' ``config.model_type``.

    Raises:
        ModelError: no family knows it.
    """
    if model_type not in architectures():
        raise _unknown(model_type)
    return model_type


def known_family(name: str) -> str:
    """The name itself, if it is a row of ``FAMILIES``.

    Raises:
        ModelError: it is not.
    """
    if name not in FAMILIES:
        near = hint(name, FAMILIES)
        raise ModelError(f'no family "{name}"', remedy=f"{near}families are {', '.join(FAMILIES)}")
    return name


def build_family(
    model: nn.Module,
    loss_spec: LossSpec,
    name: str | None = None,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> Family:
    """The family that reads this model.

    Args:
        name: a row of ``FAMILIES``; None finds it by the model's class.
        classes: the number of classes that the model was made for, where its configuration does not say.
        size: (height, width) of images that one's own module takes, in pixels, where that is known.

    Raises:
        ModelError: no such family, or the model's output cannot be read by it.
    """
    chosen = find_family(model) if name is None else known_family(name)
    if chosen == "generic":
        return GenericFamily.of(model, loss_spec, classes, size or UNKNOWN_SIZE)
    try:
        return FAMILIES[chosen].make(model, loss_spec, classes)
    except AttributeError as error:
        raise ModelError(
            f"{type(model).__name__} cannot be read as {chosen}: {error}",
            remedy="leave model.family out, or name another one",
        ) from error


def _unknown(what: str) -> ModelError:
    return ModelError(
        f"no family knows how to read {what} of transformers",
        remedy=f"known are {', '.join(FAMILIES)}; with model.family: generic its logits and pred_boxes are read as "
        "they are, and trained with the built-in DETR criterion",
    )
