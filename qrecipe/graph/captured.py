"""A captured model: a module tree and its two programs, the graphs that name its parts."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from .program import GraphMode, Program


@dataclass
class Captured:
    """What a capture yields and the passes edit: a module tree and the graphs that name its parts.

    root: a copy of the model; the model itself is left as it was.
    programs: of both modes; passes edit them in place.
    inputs: the keyword inputs, in order.
    warnings: what the user must know of how it was captured.
    training: whether the training program is the model's own; if not, it is its evaluation program with dropout.
    """

    root: nn.Module
    programs: dict[GraphMode, Program]
    inputs: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    training: bool = True

    def copy(self) -> Captured:
        programs = {key: program.copy() for key, program in self.programs.items()}
        return Captured(copy.deepcopy(self.root), programs, self.inputs, self.warnings, self.training)
