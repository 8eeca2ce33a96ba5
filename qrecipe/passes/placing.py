"""Where a pass puts the modules that it adds to a captured model."""

from __future__ import annotations

from torch import nn


def add_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Add a module under a dotted path, with plain modules on the way."""
    *way, name = path.split(".")
    owner = root
    for part in way:
        if not hasattr(owner, part):
            owner.add_module(part, nn.Module())
        owner = owner.get_submodule(part)
    owner.add_module(name, module)
