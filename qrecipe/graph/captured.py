"""A captured model: a module tree and the two graphs that name its parts."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from .face import Face, Structure


@dataclass
class Captured:
    """What a capture yields and the passes edit: a module tree and the graphs that name its parts.

    root: a copy of the model; the model itself is left as it was.
    faces: both structures; passes edit them in place.
    inputs: the keyword inputs, in order.
    warnings: what the user must know of how it was captured.
    training: whether the training structure is the model's own; if not, it is its evaluation structure with dropout.
    """

    root: nn.Module
    faces: dict[Structure, Face]
    inputs: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    training: bool = True

    def copy(self) -> Captured:
        faces = {key: face.copy() for key, face in self.faces.items()}
        return Captured(copy.deepcopy(self.root), faces, self.inputs, self.warnings, self.training)
