"""Where what can be made again is kept between commands."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import RunError


def default_cache() -> Path:
    """``$QRECIPE_CACHE``, or ``~/.cache/qrecipe``.

    Raises: RunError: there is no such home folder.
    """
    named = os.environ.get("QRECIPE_CACHE") or "~/.cache/qrecipe"
    found = os.path.expanduser(named)  # noqa: PTH111 - pathlib raises where there is no such user
    if found.startswith("~"):
        what = f"there is no home folder for {named}, where captures and compiled kernels are kept"
        raise RunError(what, where="QRECIPE_CACHE", remedy="set this environment variable to a folder")
    return Path(found)
