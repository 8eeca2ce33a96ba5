"""Dropout modules that are added to a captured model."""

from __future__ import annotations

from torch import nn

from ..vocabulary import DROPOUTS


def add_dropout(root: nn.Module, probability: float) -> str:
    """A new dropout module among the root's; returns its target."""
    if not hasattr(root, DROPOUTS):
        root.add_module(DROPOUTS, nn.ModuleList())
    dropouts = root.get_submodule(DROPOUTS)
    assert isinstance(dropouts, nn.ModuleList)
    dropouts.append(nn.Dropout(probability))
    return f"{DROPOUTS}.{len(dropouts) - 1}"
