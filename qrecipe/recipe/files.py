"""Reading a recipe file: only an ordinary, small one in UTF-8, and a clear word on everything else."""

from __future__ import annotations

import stat
from pathlib import Path

MAX_BYTES = 1 << 20


class UnreadableError(Exception):
    """A file that cannot be read as text.

    Args:
        what, remedy: as in ``QRecipeError``.
        place: line and column, from 0, where the content is at fault; None where the file is.
    """

    def __init__(self, what: str, remedy: str | None = None, place: tuple[int, int] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.place = place


def read_text(path: Path) -> str:
    """The text of a recipe file, a byte order mark removed.

    Raises: UnreadableError.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableError("is a folder", "name the recipe file in it")
        if not stat.S_ISREG(mode):  # reading a pipe or a device might never end
            raise UnreadableError("is not an ordinary file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableError("no such file", _nearest(path)) from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise UnreadableError("is larger than 1 MiB", "is this a recipe?")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        place = (good.count("\n"), len(good) - (good.rfind("\n") + 1))
        raise UnreadableError("not valid UTF-8", "save the recipe as UTF-8", place) from None


def _nearest(path: Path) -> str | None:
    """Recipe files beside a missing one."""
    try:
        names = sorted(other.name for other in path.parent.iterdir() if other.suffix in (".yaml", ".yml"))
    except OSError:
        return f"the folder {path.parent} does not exist"
    return f"in {path.parent} there is {', '.join(names[:8])}" if names else None
