"""JSON objects that vouch for themselves: damage that is still JSON is found too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RunError
from .files import DAMAGED, read_json, write_json

SEAL = "seal"
"""The key of the sha256 of all else in the object."""


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object as JSON gives it back, and its seal."""
    plain = json.loads(json.dumps({key: own for key, own in value.items() if key != SEAL}))
    return {**plain, SEAL: _digest(plain)}


def unsealed(value: Any) -> dict[str, Any] | None:
    """The object without its seal; None where it is not the one that was sealed."""
    if not isinstance(value, dict) or SEAL not in value:
        return None
    plain = {key: own for key, own in value.items() if key != SEAL}
    return plain if _digest(plain) == value[SEAL] else None


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Raises: RunError: it cannot be written."""
    write_json(path, sealed(value))


def read_sealed(path: Path, bare: bool = False) -> dict[str, Any]:
    """Read an object. ``bare``: also one without a seal, as earlier versions wrote it.

    Raises:
        RunError: the file is missing, unreadable, or not what was written.
    """
    value = read_json(path)
    found = value if bare and isinstance(value, dict) and SEAL not in value else unsealed(value)
    if found is None:
        raise RunError("this is not what was written", where=str(path), remedy=DAMAGED)
    return found


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
