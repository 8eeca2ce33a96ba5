"""Standard output and error as they may be: closed, on a full disk, of a terminal that is gone, without Unicode."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, TextIO, cast

from ..errors import QRecipeError


class OutputError(QRecipeError):
    """Standard output cannot be written."""

    stage = "output"
    passing: ClassVar[bool] = True


class _Watched:
    """A stream whose failures are :class:`OutputError`; those of a terminal that is gone, or where ``quiet``, nothing.

    BrokenPipeError stays what it is.
    """

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        self._stream, self._quiet = stream, quiet
        self._terminal = stream.isatty()

    def write(self, text: str) -> int:
        with self._watching():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._watching():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._quiet or (self._terminal and error.errno == errno.EIO):
                return
            what = f"standard output cannot be written: {error.strerror or error}"
            raise OutputError(what, remedy="send it where there is space: > FILE, or > /dev/null") from error


@contextmanager
def watched_streams() -> Iterator[None]:
    """Standard output and error as a command may use them; characters that they cannot encode are written as escapes.

    A stream that is closed goes nowhere: its number would be that of the next file, where other code still writes.
    """
    before = sys.stdout, sys.stderr
    out, err = (stream or cast("TextIO", open(os.devnull, "w")) for stream in before)  # noqa: PTH123, SIM115
    for stream in (out, err):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = cast("TextIO", _Watched(out, quiet=False)), cast("TextIO", _Watched(err, quiet=True))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def forget_output() -> None:
    """What is still buffered goes nowhere, or Python would complain when it closes the stream."""
    with suppress(OSError, io.UnsupportedOperation), open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
