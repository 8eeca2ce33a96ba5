"""The commands and options of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import __version__

SPLITS = ("train", "val", "test")
MODELS = ("trained", "control", "calibrated", "real", "off")
WHICH = (
    "of a run: trained (default), control or calibrated; of any target: real, or off, a student with its quantizers off"
)
TARGET = "a run folder, a student's folder, or a recipe"


def parser() -> argparse.ArgumentParser:
    """Everything that can be typed. The parsed ``command`` is the command's name."""
    root = argparse.ArgumentParser(
        prog="qrecipe", description="Compile a detection transformer into a quantized, distilled student from a recipe."
    )
    root.add_argument("--version", action="version", version=f"qrecipe {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    sub = _command(commands, "validate", "say everything that is wrong with recipes; builds nothing")
    sub.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    sub.add_argument("--bind", action="store_true", help="build and capture the model too, and hold the recipe to it")

    sub = _command(commands, "plan", "show what a recipe does to its model, and what that costs")
    sub.add_argument("recipe", type=Path, metavar="RECIPE")
    sub.add_argument("--image-size", type=_size, metavar="HxW", help="count costs at this size")
    sub.add_argument("--sites", action="store_true", help="list every site")
    sub.add_argument("--json", action="store_true", help="the whole plan as JSON")

    sub = _command(commands, "apply", "run a recipe: calibrate, train, evaluate, keep everything in a run folder")
    sub.add_argument("recipe", type=Path, metavar="RECIPE")
    sub.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    sub.add_argument("--resume", action="store_true", help="continue a run that was cut off")

    sub = _command(commands, "evaluate", "COCO AP of a run, a saved student, or a recipe's real-valued model")
    sub.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    sub.add_argument("--split", default="val", choices=SPLITS, help="of the recipe's data (default: val)")
    sub.add_argument("--model", choices=MODELS, help=WHICH)
    sub.add_argument("--detections", type=Path, metavar="FILE", help="write the detections here, in COCO's format")
    sub.add_argument("--json", action="store_true", help="the numbers as JSON, and nothing else")

    sub = _command(commands, "predict", "detect objects in images: boxes drawn, and COCO-format JSON")
    sub.add_argument("target", type=Path, metavar="TARGET", help=TARGET)
    sub.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    sub.add_argument("--model", choices=MODELS, help=WHICH)
    sub.add_argument(
        "--output",
        type=Path,
        default=Path("predictions"),
        metavar="FOLDER",
        help="a new or empty folder (default: predictions)",
    )
    sub.add_argument(
        "--threshold",
        type=_share,
        default=0.3,
        metavar="SCORE",
        help="draw boxes from this score on (default: 0.3)",
    )
    sub.add_argument("--limit", type=_count, metavar="N", help="only the first N images")
    return root


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    sub.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value (repeatable)"
    )
    sub.add_argument(
        "--random-weights", action="store_true", help="leave the recipe's weights out (nothing is downloaded)"
    )
    return sub


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HxW, such as 800x1066")
    return int(height), int(width)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no score between 0 and 1")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write 1 or more")
    return int(text)
