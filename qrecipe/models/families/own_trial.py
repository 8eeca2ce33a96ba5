"""One's own detector is run on blank images before anything else: whatever its code does there is one message."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...graph.module_copy import module_copy
from ...placement import placement_of
from ...termination import Terminated
from ...user_line import deepest_line, steps_of
from .module_outputs import same_random_numbers
from .nested import ADAPTER, asks_for_nested
from .own_outputs import REMEDY, logits_and_boxes, make_capturable, read_outputs, unread_names

FAR = 2.0
"""Boxes of untrained heads without a sigmoid may leave 0..1; pixels go far beyond."""
_SIZE = "model.input.size is the size (height, width) that is tried"
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

Forward = Callable[[nn.Module, Tensor], Any]
"""Calls a module with images (batch, 3, height, width); what it returns."""


def image_parameter(model: nn.Module) -> tuple[str, bool]:
    """The parameter of forward that takes the images, and whether there is a ``pixel_mask``.

    Raises:
        ModelError: there is no parameter that can be given by name.
    """
    usable = [name for name, one in inspect.signature(model.forward).parameters.items() if one.kind in _KINDS]
    if not usable:
        raise ModelError(
            "its forward has no parameter that can be given by name",
            where=type(model).__name__,
            remedy="give it one for the images: def forward(self, pixel_values)",
        )
    images = "pixel_values" if "pixel_values" in usable else usable[0]
    return images, "pixel_mask" in usable


@torch.no_grad()
def try_evaluation(
    model: nn.Module, forward: Forward, given: Sequence[str], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Logits and boxes of one blank image in evaluation mode.

    Args:
        given: the parameters of forward that are given.

    Raises:
        ModelError: the forward fails, or its output is not (1, queries, classes) and (1, queries, 4).
    """
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        outputs = _run(model, forward, given, _blank(model, 1, size), "")
    finally:
        for part, training in modes.items():
            part.training = training
    make_capturable(outputs)
    logits, boxes = logits_and_boxes(outputs)
    where = type(model).__name__
    shapes = f"its logits are {tuple(logits.shape)} and its boxes {tuple(boxes.shape)}"
    if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4):
        raise ModelError(shapes, where=where, remedy=REMEDY)
    if not logits.shape[1] or not logits.shape[2]:
        missing = "queries" if not logits.shape[1] else "classes"
        raise ModelError(
            f"{shapes}: it has no {missing}",
            where=where,
            remedy="a detector has a fixed number of queries; what filters detections belongs behind the forward"
            if missing == "queries"
            else "tell the factory the number of classes: model.labels_argument names its parameter",
        )
    return logits.detach(), boxes.detach()


@torch.no_grad()
def try_training(model: nn.Module, forward: Forward, given: Sequence[str], size: tuple[int, int]) -> list[str]:
    """What a copy of the model returns in training can be read too. A note on what in it is not read.

    Raises:
        ModelError: the forward fails there, or returns what cannot be read.
    """
    copied = module_copy(model).train()
    with torch.random.fork_rng(), same_random_numbers():
        # Two images: of one a BatchNorm may have one value.
        outputs = _run(copied, forward, given, _blank(model, 2, size), "in training ")
    try:
        read_outputs(outputs)
    except ModelError as problem:
        raise ModelError(f"in training: {problem.what}", where=type(model).__name__, remedy=REMEDY) from problem
    unread = unread_names(outputs)
    return [f"of its outputs in training {', '.join(unread)} are not read: no loss is taken of them"] if unread else []


def beyond(boxes: Tensor) -> list[str]:
    """A note on boxes that look like pixels: anything would be trained with them, to no end."""
    largest = float(boxes.abs().max()) if boxes.numel() else 0.0
    if not largest > FAR:  # nor where it is no number
        return []
    return [f"its boxes reach {largest:.3g} on a blank image: they are read as cxcywh in 0..1, not as pixels"]


def _blank(model: nn.Module, batch: int, size: tuple[int, int]) -> Tensor:
    placement = placement_of(model)
    return torch.zeros(batch, 3, *size, dtype=placement.dtype, device=placement.device)


def _run(model: nn.Module, forward: Forward, given: Sequence[str], blank: Tensor, when: str) -> Any:
    try:
        return forward(model, blank)
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # whatever one's own code may raise, SystemExit too
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        line = deepest_line(steps_of(error.__traceback__), model)
        place = f" (at {line.place}: {line.text})" if line is not None else ""
        images = f"a blank {tuple(blank.shape)} image" if len(blank) == 1 else f"blank {tuple(blank.shape)} images"
        raise ModelError(
            f"{when}it fails on {images}: {what}{place}",
            where=type(model).__name__,
            remedy=_remedy(model, given, error),
        ) from error


def _remedy(model: nn.Module, given: Sequence[str], error: BaseException) -> str:
    if asks_for_nested(error):
        return ADAPTER
    if isinstance(error, SystemExit):
        return "a forward must return its outputs; what ends the program belongs outside of it"
    parameters = inspect.signature(model.forward).parameters
    others = [name for name, one in parameters.items() if one.kind in _KINDS and name not in given]
    if not others:
        return _SIZE
    names = ", ".join(others)
    return (
        f"its forward also takes {names}, which it is not given, in training neither: let it do without "
        f"(if {others[0]} is not None), or put an adapter around it whose forward takes the images alone"
    )
