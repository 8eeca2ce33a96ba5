"""Packages of extras, asked for before any work is done."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ExportError


def need(*packages: str, extra: str = "onnx") -> None:
    """Raises: ExportError: one of these packages is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ExportError(f"{', '.join(missing)} {verb} not installed", remedy=f"pip install 'qrecipe[{extra}]'")
