"""A json file of the user's as plain data, and a clear word on everything that is none."""

from __future__ import annotations

import json
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..plain_text import LONGEST, short

MOST_DIGITS = 40
"""Longer whole numbers are not read: Python takes quadratic time for them."""


@dataclass(frozen=True)
class Unheld:
    """A number that json's text has and no variable holds: ``NaN``, ``1e999``, one of hundreds of digits."""

    text: str


class Repeated(dict[str, Any]):
    """An object in which ``twice`` are given more than once. As in Python's json the last value counts."""

    twice: tuple[str, ...] = ()


def read_json_file(
    path: Path, what: str, remedy: str, *, keep: frozenset[str] | None = None, exact: bool = True
) -> Any:
    """The file's value. Numbers that cannot be held are :class:`Unheld`, objects with repeated keys :class:`Repeated`.

    Args:
        what: what the file is meant to be, with its article. remedy: what to do where it cannot be read.
        keep: keys of objects; what stands under others is dropped as soon as it is read. None keeps all.
        exact: False is several times as fast where there are many numbers; then ``1e999`` is infinity, and whole
            numbers have as many digits as they have.

    Raises: DataError where the file is missing, is no ordinary file, cannot be read, is no text or no json.
    """

    def problem(text: str) -> DataError:
        return DataError(f"{what} {text}", where=str(path), remedy=remedy)

    reason = unreadable(path)
    if reason is not None:
        raise problem(reason)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise problem(f"cannot be read: {error.strerror or error}") from error
    encoding = json.detect_encoding(content)  # utf-8, with a byte order mark or without, utf-16 or utf-32
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise problem(f"is not json: byte {error.start + 1} is no {encoding.upper().removesuffix('-SIG')}") from error
    del content
    hooks: dict[str, Any] = {"parse_constant": Unheld, "object_pairs_hook": partial(_object, keep=keep)}
    try:
        if not exact:
            with suppress(ValueError):  # of thousands of digits; or it is none, which is said below
                return json.loads(text, **hooks)
        return json.loads(text, parse_int=_int, parse_float=_float, **hooks)
    except RecursionError as error:
        raise problem("is nested too deeply to be read") from error
    except ValueError as error:
        begins = f'; it begins with "{short(text.lstrip()[:LONGEST], 40)}"' if text.strip() else "; it is empty"
        raise problem(f"is not json: {error}{begins}") from error


def unreadable(path: Path) -> str | None:
    """Why a path cannot be read as a file, to follow its name; None where that can be tried.

    Nothing is opened: reading a pipe or a device might never end.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except ValueError:  # a NUL or half a character in its name
        return "is missing: its name is none that a file can have"
    if stat.S_ISDIR(mode):
        return "is a folder"
    if not stat.S_ISREG(mode):
        return "is not an ordinary file"
    return None


def _int(text: str) -> int | Unheld:
    return int(text) if len(text) <= MOST_DIGITS else Unheld(text)


def _float(text: str) -> float | Unheld:
    value = float(text)
    return value if value - value == 0 else Unheld(text)


def _object(pairs: list[tuple[str, Any]], keep: frozenset[str] | None) -> dict[str, Any]:
    if keep is not None:
        pairs = [pair for pair in pairs if pair[0] in keep]
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    counts = Counter(name for name, _ in pairs)
    repeated = Repeated(made)
    repeated.twice = tuple(name for name, count in counts.items() if count > 1)
    return repeated
