"""One process at a time writes a run folder."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from pathlib import Path
from weakref import WeakSet

from ..errors import RunError
from ..plain_text import short
from .files import writing

LOCK = ".lock"
_HELD: WeakSet[RunLock] = WeakSet()


class RunLock:
    """A lock on a folder, held until :meth:`release` or the end of the process.

    The operating system holds it (``flock``), so that a process that was killed leaves nothing behind; a process that
    this one has forked, a worker that outlives it for seconds, has no part in it. The file's text says who has it, for
    the message. The file itself stays: removing it would let two processes lock two files.

    Raises:
        RunError: another process holds it, or the file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        with writing(self.path):
            self._handle: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken = self._taken(folder, self._handle)
                self._close()
                raise taken from None
            except OSError:
                self._close()
                raise
            _HELD.add(self)
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode(), 0)

    @classmethod
    def check(cls, folder: Path) -> None:
        """Raises: RunError: another process holds it now. Nothing is made, and it is not held."""
        try:
            handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise cls._taken(folder, handle) from None
        except OSError:
            return
        finally:
            os.close(handle)

    @classmethod
    def _taken(cls, folder: Path, handle: int) -> RunError:
        return RunError(
            f"another process writes this run{cls._holder(handle)}",
            where=str(folder),
            remedy="wait for it, or choose another --output",
        )

    def release(self) -> None:
        """Give the lock back. Harmless when it was given back already."""
        self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @staticmethod
    def _holder(handle: int) -> str:
        try:
            said = json.loads(os.pread(handle, 4096, 0))
            return f" (process {short(str(said['pid']))} on {short(str(said['host']))})"
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""


def _let_go_in_child() -> None:
    """A fork copies descriptors, and the lock is free only when all of them are closed. This frees no lock."""
    for lock in list(_HELD):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
