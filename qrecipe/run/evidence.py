"""What a run folder keeps for its page beside figures: ``evidence/evidence.json``, and the pictures that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RunError
from .files import write_atomically, writing
from .layout import EVIDENCE
from .seal import read_sealed, write_sealed

FILE = "evidence.json"
VERSION = 1
"""Of the file's keys."""


def write_evidence(run: Path, found: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
    """Keep it, in place of what is there; the file that names the pictures comes last.

    Raises:
        RunError: it cannot be written.
    """
    folder = run / EVIDENCE
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for name, data in pictures.items():
        write_atomically(folder / name, data)
    write_sealed(folder / FILE, {"version": VERSION, **found})


def read_evidence(run: Path) -> dict[str, Any] | None:
    """None where there is none, or where another version of qrecipe wrote it.

    Raises:
        RunError: it is damaged.
    """
    path = run / EVIDENCE / FILE
    if not path.exists():
        return None
    found = read_sealed(path)
    return found if found.get("version") == VERSION else None


def read_picture(run: Path, name: str) -> bytes:
    """Raises: RunError: it is not there."""
    path = run / EVIDENCE / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
