"""Memory that ran out: which errors of other libraries say so, as one of ours."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import OutOfMemoryError

_SAID = re.compile(r"out of memory|can't allocate memory|not enough memory|STATUS_ALLOC_FAILED", re.IGNORECASE)
_ASKED = re.compile(r"allocate ([0-9.]+) ?([KMGT]iB|bytes)")


@contextmanager
def enough_memory(where: str | None, remedy: str) -> Iterator[None]:
    """Raises: OutOfMemoryError: what is inside asked for more than there is, as Python, torch or the system says it."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemoryError(f"memory ran out{_asked(str(error))}", where=where, remedy=remedy) from error


def ran_out(error: BaseException) -> bool:
    """Whether an error of any library says that there is no more memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SAID.search(str(error))))


def _asked(text: str) -> str:
    found = _ASKED.search(text)
    if found is None:
        return ""
    size, unit = float(found[1]), found[2]
    return (
        f": {size / 2**30:.2f} GiB more were asked for"
        if unit == "bytes"
        else f": {found[1]} {unit} more were asked for"
    )
