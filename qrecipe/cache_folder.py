"""Where what can be made again is kept between commands."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """``$QRECIPE_CACHE``, or ``~/.cache/qrecipe``."""
    named = os.environ.get("QRECIPE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "qrecipe"
