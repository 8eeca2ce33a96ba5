"""Reading a recipe file: only an ordinary, small one in UTF-8, and a clear word on everything else."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

MAX_BYTES = 1 << 20
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


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
    content = _read_bytes(path)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        raise UnreadableError("not valid UTF-8", "save the recipe as UTF-8", end_of(good)) from None


def source_lines(path: Path) -> list[str]:
    """The lines of a recipe file as marks count them, what is no UTF-8 in it replaced.

    Raises: UnreadableError.
    """
    return lines_of(_read_bytes(path).decode("utf-8", errors="replace").removeprefix("\ufeff"))


def lines_of(text: str) -> list[str]:
    """A text's lines, broken where YAML breaks them; one more than its line breaks."""
    return _BREAK.split(text)


def end_of(text: str) -> tuple[int, int]:
    """Line and column, from 0, where a text ends."""
    lines = lines_of(text)
    return len(lines) - 1, len(lines[-1])


def at_home(path: str) -> str:
    """A leading ``~`` as the home folder; ``~NAME`` of no user, and ``./~``, as they are."""
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib takes ./~ for ~, and raises where there is no such user


def _read_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UnreadableError("is a folder", "name the recipe file in it")
        if not stat.S_ISREG(mode):  # reading a pipe or a device might never end
            raise UnreadableError("is not an ordinary file", "name a file on disk")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableError("no such file", _nearest(path)) from None
    except (OSError, ValueError) as error:
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise UnreadableError("is larger than 1 MiB", "is this a recipe?")
    return content


def _nearest(path: Path) -> str | None:
    """Recipe files beside a missing one."""
    try:
        names = sorted(other.name for other in path.parent.iterdir() if _is_recipe(other))
    except OSError:
        return f"the folder {path.parent} does not exist"
    return f"in {path.parent} there is {', '.join(names[:8])}" if names else None


def _is_recipe(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()
