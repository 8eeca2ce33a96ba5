"""Follows what switches gradients and precision while a model is captured, where torch.export does not.

It notes ``no_grad`` and ``set_grad_enabled`` itself. It does not see ``inference_mode``; takes a reentrant checkpoint,
which runs without gradients and makes them up in its backward, for a part without any; and loses gradients that are
switched inside a region of autocast.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..user_line import Line, deepest_line, steps_from
from .diagnosis import Refused

_DECORATED = ("decorate_autocast", "decorate_context")
"""What torch calls the functions around a decorated one, which they know as ``func``."""


class _Checkpoint:
    """Stands in for ``torch.utils.checkpoint.CheckpointFunction``: the function itself, with its own gradients.

    As there, nothing has gradients if no input has.
    """

    @staticmethod
    def apply(function: Callable[..., Any], _preserve_rng_state: bool, *arguments: Any) -> Any:
        given = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(arguments))
        with torch.set_grad_enabled(given and torch.is_grad_enabled()):
            return function(*arguments)


@contextmanager
def followed_switches(root: torch.nn.Module) -> Iterator[None]:
    """All of it, for the length of one capture of ``root``; raises ``Refused`` where it enters another precision."""

    def enter_autocast(self: Any) -> Any:
        if self._enabled:
            raise Refused("autocast", _line_of(sys._getframe(1), root))
        return self  # switched off, it changes nothing

    def leave_autocast(self: Any, *_: object) -> bool:
        return False

    def enter_inference(self: Any) -> None:
        self.qrecipe_before = torch.is_grad_enabled()
        torch.set_grad_enabled(not self.mode)

    def leave_inference(self: Any, *_: object) -> None:
        torch.set_grad_enabled(self.qrecipe_before)

    checkpoints = importlib.import_module("torch.utils.checkpoint")
    with (
        patch.multiple(torch.autocast, __enter__=enter_autocast, __exit__=leave_autocast),
        patch.multiple(torch.inference_mode, __enter__=enter_inference, __exit__=leave_inference),
        patch.object(checkpoints, "CheckpointFunction", _Checkpoint),
    ):
        yield


@contextmanager
def settled_switches(device: torch.device | None) -> Iterator[None]:
    """Gradients on and mixed precision off, whatever is around a call of ours; afterwards all is as it was.

    device: of the model's parameters.
    """
    kinds = {"cpu", *([device.type] if device is not None else [])}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in sorted(kinds - {"meta"}):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _line_of(frame: FrameType, root: torch.nn.Module) -> Line | None:
    """The line of a context manager that is entered in ``frame``: the ``with``, or the decorator."""
    line = deepest_line(steps_from(frame), root)
    while frame.f_back is not None and frame.f_code.co_name not in _DECORATED:
        if line is not None and frame.f_code.co_filename == line.file:
            return line
        frame = frame.f_back
    function = frame.f_locals.get("func")
    code = getattr(function, "__code__", None)
    if line is None or code is None:
        return line
    first = code.co_firstlineno  # of the first decorator
    lines = [linecache.getline(code.co_filename, number).strip() for number in range(first, first + 8)]
    at = next((index for index, text in enumerate(lines) if "autocast" in text), 0)
    return Line(code.co_filename, first + at, lines[at], line.module, line.kind)
