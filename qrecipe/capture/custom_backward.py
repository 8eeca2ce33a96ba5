"""Finds custom autograd functions in a model: a capture follows their forward and loses their backward."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch import nn

from ..calls import watched_calls
from ..user_line import Line, deepest_line, steps_from

_OWN = ("forward", "setup_context")


def custom_function_line(model: nn.Module, run: Callable[[], Any]) -> Line | None:
    """The line of the model that first calls a custom autograd function while ``run`` runs it, or None."""
    found: list[Line] = []

    def called(frame: FrameType) -> None:
        if not found and frame.f_code.co_name in _OWN and _has_context(frame):
            line = deepest_line(steps_from(frame.f_back), model)
            if line is not None:
                found.append(line)

    with watched_calls(called):
        run()
    return found[0] if found else None


def _has_context(frame: FrameType) -> bool:
    code = frame.f_code
    given = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
    return any(isinstance(value, torch.autograd.function.FunctionCtx) for value in given)
