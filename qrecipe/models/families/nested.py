"""Detectors whose forward takes images and mask in one object, as the NestedTensor of the original DETR code."""

from __future__ import annotations

import inspect
import re
import typing
from typing import Any

from torch import Tensor, nn

from ...errors import ModelError

NAMES = ("samples", "nested_tensor", "nested_tensors", "tensor_list")
"""What such a parameter is called where nothing annotates it."""

ADAPTER = """put an adapter around the model, and let the factory return that:
    class Adapter(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
        def forward(self, pixel_values, pixel_mask):  # (batch, 3, height, width); (batch, height, width), 1 is image
            return self.model(NestedTensor(pixel_values, pixel_mask == 0))"""
_ASKED = re.compile(r"'Tensor' object has no attribute '(\w+)'")


def nested_type(model: nn.Module, parameter: str) -> type | None:
    """The class that a parameter of forward is annotated with, or, by the parameter's name, one that forward knows.

    Its constructor takes ``tensors`` (batch, 3, height, width) and ``mask`` (batch, height, width), True is padding.
    None: the parameter takes a plain tensor, as far as can be told.

    Raises:
        ModelError: the annotation is a class that is neither.
    """
    forward: Any = getattr(model.forward, "__func__", model.forward)
    known = dict(getattr(forward, "__globals__", {}))
    annotation = _annotation(forward, parameter, known)
    kinds = [kind for kind in (annotation, *typing.get_args(annotation)) if isinstance(kind, type)]
    found = next((kind for kind in kinds if _takes_both(kind)), None)
    if found is not None:
        return found
    own = [kind for kind in kinds if not _is_common(kind)]
    if own and Tensor not in kinds:
        raise ModelError(
            f"its forward takes {parameter}: {own[0].__name__}, whose constructor has no parameters tensors and mask",
            where=type(model).__name__,
            remedy=ADAPTER,
        )
    if parameter in NAMES:
        return next((kind for name, kind in known.items() if "nested" in name.lower() and _takes_both(kind)), None)
    return None


def asks_for_nested(error: BaseException) -> bool:
    """Whether a forward failed because it was given a plain tensor in place of such an object."""
    asked = _ASKED.search(str(error))
    return isinstance(error, AttributeError) and asked is not None and asked[1] in ("tensors", "mask", "decompose")


def _annotation(forward: Any, parameter: str, known: dict[str, Any]) -> Any:
    try:
        return typing.get_type_hints(forward).get(parameter)
    except Exception:  # evaluates the user's annotations, of which any may name what is not there
        given = inspect.signature(forward).parameters[parameter].annotation
        return known.get(given.rpartition(".")[2]) if isinstance(given, str) else given


def _takes_both(kind: Any) -> bool:
    if not isinstance(kind, type) or issubclass(kind, Tensor):
        return False
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):  # classes without a signature, such as many builtins
        return False
    needed = {name for name, one in parameters.items() if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
    return {"tensors", "mask"} <= parameters.keys() and needed <= {"tensors", "mask"}


def _is_common(kind: type) -> bool:
    """Classes that say nothing about how images are given."""
    return issubclass(kind, Tensor) or kind.__module__ in ("builtins", "typing", "collections.abc", "types")
