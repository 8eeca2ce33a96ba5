"""The packages of ``qrecipe[onnx]``, asked for before any work is done."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import ExportError


def need(*packages: str) -> None:
    """Raises: ExportError: one of these packages is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ExportError(f"{', '.join(missing)} is not installed", remedy="pip install 'qrecipe[onnx]'")
