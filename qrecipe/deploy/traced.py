"""A lowered student as torch.export sees it."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import ExportError
from ..plain_text import one_line

PLACES = (0, 2, 3)
"""Of batch, height and width in an input."""

Size = tuple[int, int, int]
"""Batch, height, width."""

Open = tuple[bool, bool, bool]
"""Which of them stay open."""

Fixed = tuple[int | None, int | None, int | None]
"""What they are fixed to; None stays open."""


def traced(module: nn.Module, size: Size, dynamic: Open) -> torch.export.ExportedProgram:
    """Trace (batch, 3, height, width) float32 images. What stays open is fixed where the module's own graph needs it.

    Raises:
        ExportError: what it computes depends on values, or on sizes in a way that torch cannot express.
    """
    pixels = torch.rand(max(size[0], 2) if dynamic[0] else size[0], 3, *size[1:])
    open_ = {place: torch.export.Dim.AUTO for place, own in zip(PLACES, dynamic, strict=True) if own}
    try:
        return torch.export.export(module, (pixels,), dynamic_shapes=(open_,), strict=False)
    except RuntimeError as error:  # the root of torch's own: UserError, GuardOnDataDependentSymNode
        reason = one_line(error)
        raise ExportError(
            f"torch.export does not trace this student: {reason}", remedy="fix --batch, --height and --width"
        ) from error


def fixed_by(program: torch.export.ExportedProgram) -> Fixed:
    """What batch, height and width of a traced program's images are fixed to."""
    (name,) = program.graph_signature.user_inputs
    node = next(node for node in program.graph.nodes if node.name == name)
    shape = node.meta["val"].shape
    texts = [str(shape[place]) for place in PLACES]  # a symbol that turned out to be 32 is still a symbol, written 32
    batch, height, width = (int(text) if text.isdigit() else None for text in texts)
    return batch, height, width
