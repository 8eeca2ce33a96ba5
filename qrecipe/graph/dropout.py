"""Dropout modules that are added to a captured model."""

from __future__ import annotations

from torch import nn


def add_dropout(root: nn.Module, probability: float) -> str:
    """A new dropout module under ``root.dropouts``; returns its target."""
    if not hasattr(root, "dropouts"):
        root.add_module("dropouts", nn.ModuleList())
    dropouts = root.get_submodule("dropouts")
    assert isinstance(dropouts, nn.ModuleList)
    dropouts.append(nn.Dropout(probability))
    return f"dropouts.{len(dropouts) - 1}"
