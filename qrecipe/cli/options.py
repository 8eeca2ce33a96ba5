"""Options that several commands have, and the types of their values."""

from __future__ import annotations

import argparse

WHICH_TEXT = (
    "of a run: trained (default), control or calibrated; of any target: real, or off, a student with its quantizers off"
)
TARGET = "a run folder, a student's folder, an exported .onnx file, or a recipe"


def add_capture_options(parser: argparse.ArgumentParser) -> None:
    """``--no-cache`` and ``--quiet``, of every command that captures a model."""
    text = "capture the model anew, and keep nothing of it for other commands"
    parser.add_argument("--no-cache", action="store_false", dest="cache", help=text)
    text = "tell nothing on the way but notes and warnings, on standard error"
    parser.add_argument("--quiet", action="store_true", help=text)


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """``--set``, ``--random-weights``, and what every command has that captures a model."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value (repeatable)"
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="leave the recipe's weights out (nothing is downloaded)"
    )
    add_capture_options(parser)


def size(text: str) -> tuple[int, int]:
    """``800x1066`` as (height, width)."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HxW, such as 800x1066")
    return int(height), int(width)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no score between 0 and 1")
    return value


def points(text: str) -> float:
    """A number of AP points, from 0 to 100."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of AP points between 0 and 100")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write 1 or more")
    return int(text)


def widths(text: str) -> tuple[int | None, ...]:
    """``8,4,float`` as (8, 4, None): numbers of bits from 2 to 8, each once; None is real-valued."""
    found: list[int | None] = []
    for word in text.split(","):
        known = word.strip()
        if known == "float":
            width = None
        elif known.isdecimal() and 2 <= int(known) <= 8:
            width = int(known)
        else:
            raise argparse.ArgumentTypeError(f"{word!r} is no width; write numbers from 2 to 8, such as 8,4")
        if width not in found:
            found.append(width)
    if found == [None]:
        raise argparse.ArgumentTypeError("float alone quantizes nothing; name a number of bits too")
    return tuple(found)


def numbers_of_bits(text: str) -> tuple[int, ...]:
    """``8,4`` as (8, 4)."""
    found = widths(text)
    if None in found:
        raise argparse.ArgumentTypeError("'float' is no width that could be measured; every part is compared with it")
    return tuple(width for width in found if width is not None)
