"""Which line of the user's own code was running, in which part of the model."""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import numpy
import torch
from torch import nn

_NOT_THE_USERS = tuple(
    f"{folder}/"
    for folder in (
        Path(torch.__file__).parent,
        Path(numpy.__file__).parent,
        Path(__file__).parent,
    )
)
_STANDARD = f"{sysconfig.get_paths()['stdlib']}/"
_INSTALLED = ("site-packages/", "dist-packages/")

Step = tuple[FrameType, int]
"""A frame with the number of the line that it was at."""


@dataclass(frozen=True)
class Line:
    """A line of code that ran while the model was captured.

    file: absolute. text: the code itself, stripped. module: the path of the innermost part of the model that was
    running, "" for the model itself; kind: the name of that part's class.
    """

    file: str
    number: int
    text: str
    module: str
    kind: str

    @property
    def place(self) -> str:
        """``file:line``, the file as seen from the working directory where it is below it."""
        path = Path(self.file)
        here = Path.cwd()
        return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{self.number}"

    @property
    def part(self) -> str:
        return f"{self.module} ({self.kind})" if self.module else f"the model itself ({self.kind})"


def steps_of(traceback: TracebackType | None) -> Iterator[Step]:
    """From the outermost frame to the one that raised."""
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def steps_from(frame: FrameType | None) -> list[Step]:
    """From the outermost frame to this one."""
    steps = []
    while frame is not None:
        steps.append((frame, frame.f_lineno))
        frame = frame.f_back
    return steps[::-1]


def deepest_line(steps: Iterable[Step], root: nn.Module) -> Line | None:
    """The deepest line that is neither torch's nor numpy's, Python's or our own, once the model runs.

    The part of the model is told by ``self`` in the frames: the innermost one down to that line.
    """
    # torch runs a module with several names through proxies of it, which share its attributes.
    names = {id(vars(part)): name for name, part in root.named_modules()}
    module: str | None = None
    kind = ""
    found: Line | None = None
    for frame, number in steps:
        running = frame.f_locals.get("self")
        if isinstance(running, nn.Module) and id(vars(running)) in names:
            module, kind = names[id(vars(running))], type(running).__name__
        code = frame.f_code
        if module is not None and is_users(code.co_filename):
            text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
            found = Line(code.co_filename, number, text, module, kind)
    return found


def is_users(file: str) -> bool:
    if file.startswith(_NOT_THE_USERS) or file.startswith("<"):
        return False
    return not file.startswith(_STANDARD) or any(part in file for part in _INSTALLED)
