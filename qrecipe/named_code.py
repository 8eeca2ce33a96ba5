"""The code that a row of a table names."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(code: str) -> Any:
    """What ``module:name`` stands for; its module is imported here, at the first use."""
    module, _, name = code.partition(":")
    return getattr(import_module(module), name)
