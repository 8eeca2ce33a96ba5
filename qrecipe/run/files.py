"""Writing files so that a kill or a full disk leaves the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from ..errors import RunError

DAMAGED = "the file is damaged: put it back as it was, or start again with another --output"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class WriteError(RunError):
    """The file system refuses to write; what was there before is intact."""

    passing: ClassVar[bool] = True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names ``path`` and the reason when the file system refuses something inside.

    Raises:
        WriteError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what = "the disk is full; what was written here before is intact"
            raise WriteError(what, where=str(path), remedy="free some space") from error
        raise WriteError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def require_free(path: Path, remedy: str | None = None) -> None:
    """Said before the work, not after it.

    Raises: RunError: something is there already, or its folder is not there, or cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise RunError("is there already, and is not overwritten", where=str(path), remedy=remedy)
    if not path.absolute().parent.is_dir():
        raise RunError("there is no such folder", where=str(path.parent), remedy="make it first")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise RunError("this folder cannot be written", where=str(path.parent), remedy=remedy)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries (new names, renames) are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file with these bytes, or leave it as it was.

    Raises:
        RunError: the file system refuses it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path):
        try:
            write_synced(temporary, data)
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """``value`` as JSON in UTF-8 and a newline; with escapes where a path has bytes that are no UTF-8."""
    try:
        return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=indent) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomically(path, json_bytes(value, indent=2))


def parsed(data: bytes) -> Any:
    """JSON's value. Raises: ValueError: it is none, or nested too deeply for one."""
    try:
        return json.loads(data.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> Any:
    """Raises: RunError: the file is missing, unreadable or no JSON."""
    try:
        return parsed(path.read_bytes())
    except FileNotFoundError:
        raise RunError("the file is missing", where=str(path)) from None
    except OSError as error:
        raise RunError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:
        raise RunError(f"is not JSON: {error}", where=str(path), remedy=DAMAGED) from error
