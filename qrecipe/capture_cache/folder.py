"""The folder in which captures are kept: written whole, read with suspicion, and bounded."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ..cache_folder import default_cache

MOST = 256 * 2**20
"""Bytes of all entries together. The ones that were not used for longest are removed."""
ENDING = ".capture"


def captures_folder() -> Path:
    """``captures`` in ``$QRECIPE_CACHE``, or in ``~/.cache/qrecipe``."""
    return default_cache() / "captures"


def entry_path(key: str) -> Path:
    return captures_folder() / f"{key}{ENDING}"


def write_entry(path: Path, data: bytes) -> None:
    """Put an entry in place, or leave the one that is there; of several writers the last one stays, whole.

    Raises:
        OSError: the file system refuses it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:16]}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)
        raise
    _bound(path)


def used(path: Path) -> None:
    """Note that an entry was of use."""
    with suppress(OSError):
        os.utime(path)


def _bound(newest: Path) -> None:
    """Remove the oldest entries beyond ``MOST``, and what killed writers left behind."""
    entries = []
    for path in newest.parent.iterdir():
        with suppress(OSError):  # another process may have removed it
            if path.suffix in (ENDING, ".tmp"):
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MOST or path == newest:
            break
        with suppress(OSError):
            path.unlink()
            total -= size
