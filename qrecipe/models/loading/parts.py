"""What every way to a model comes to, before its images are prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...data.labels import LabelMap
from ..families import Family
from .state_dicts import Mismatch


@dataclass(frozen=True)
class Parts:
    """A filled model, the family that reads it, and its labels.

    messages: what the user should know of how it was built. differing: the head's tensors that were not loaded, as
    (key, own shape, stored shape). folder: where its weights are, if in a folder with more.
    code: names of the modules of code that made it.
    """

    model: nn.Module
    family: Family
    label_map: LabelMap
    messages: tuple[str, ...] = ()
    differing: Sequence[Mismatch] = ()
    folder: Path | None = None
    code: tuple[str, ...] = ()
