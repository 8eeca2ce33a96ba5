"""The command line. The only place that prints errors and exits.

Exit codes: 0 done; 2 something that the user can mend, said in one message; 130 interrupted; 1, with a traceback, a
fault of qrecipe's own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from . import __version__
from .errors import QRecipeError, RecipeErrors

Command = Callable[[argparse.Namespace, Console], None]


def _validate(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.validate import bind, validate

    for path in arguments.recipes:
        recipe = validate(path, arguments.set)
        if arguments.bind:
            plan = bind(recipe, _sayer(console), arguments.random_weights)
            count = len(plan.quantizers)
            console.print(f"{path}: valid, and binds: {count} quantizers, {len(plan.alignments)} alignments", highlight=False)
        else:
            console.print(f"{path}: valid", highlight=False)


def _plan(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.validate import plan, validate
    from .report.plan import plan_tables

    recipe = validate(arguments.recipe, arguments.set)
    quiet = arguments.json
    found = plan(
        recipe,
        (lambda text: None) if quiet else _sayer(console),
        random_weights=arguments.random_weights,
        image_size=arguments.image_size,
    )
    if arguments.json:
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
        return
    for table in plan_tables(found, sites=arguments.sites):
        console.print(table)


def _apply(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.apply import apply
    from .commands.validate import validate
    from .report.progress import training_watcher
    from .report.tables import summary_table

    recipe = validate(arguments.recipe, arguments.set)
    folder = (arguments.output or recipe.output or Path("runs") / recipe.name).resolve()
    with training_watcher(console, recipe.train.epochs) as watcher:
        summary = apply(
            recipe,
            folder,
            say=_sayer(console),
            watcher=watcher,
            resume=arguments.resume,
            random_weights=arguments.random_weights,
        )
    console.print(summary_table(summary))
    for note in summary.notes:
        console.print(f"note: {note}", highlight=False)
    console.print(f"run: {folder}", highlight=False, soft_wrap=True)


def _evaluate(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.evaluate import evaluate, find_target
    from .report.tables import evaluation_tables

    target = find_target(arguments.target, arguments.model, tuple(arguments.set))
    say = (lambda text: None) if arguments.json else _sayer(console)
    evaluation, results = evaluate(target, arguments.split, say, random_weights=arguments.random_weights)
    if arguments.detections is not None:
        arguments.detections.write_text(json.dumps(results), encoding="utf-8")
    if arguments.json:
        sys.stdout.write(json.dumps(evaluation.to_dict(), indent=1) + "\n")
        return
    for table in evaluation_tables(evaluation):
        console.print(table)


def _predict(arguments: argparse.Namespace, console: Console) -> None:
    from .commands.evaluate import find_target
    from .commands.predict import find_images, predict

    target = find_target(arguments.target, arguments.model, tuple(arguments.set))
    images = find_images(arguments.images)
    predict(
        target, images, arguments.output, _sayer(console), threshold=arguments.threshold, limit=arguments.limit
    )
    console.print(f"pictures and detections.json: {arguments.output}", highlight=False, soft_wrap=True)


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qrecipe", description="Compile a detection transformer into a quantized, distilled student from a recipe."
    )
    parser.add_argument("--version", action="version", version=f"qrecipe {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's value (repeatable)"
        )
        sub.add_argument("--random-weights", action="store_true", help="leave the recipe's weights out")
        return sub

    sub = command("validate", _validate, "say everything that is wrong with recipes; builds nothing")
    sub.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE")
    sub.add_argument("--bind", action="store_true", help="build and capture the model too, and hold the recipe to it")

    sub = command("plan", _plan, "show what a recipe does to its model, and what that costs")
    sub.add_argument("recipe", type=Path)
    sub.add_argument("--image-size", type=_size, metavar="HxW", help="count costs at this size")
    sub.add_argument("--sites", action="store_true", help="list every site")
    sub.add_argument("--json", action="store_true", help="the whole plan as JSON")

    sub = command("apply", _apply, "run a recipe: calibrate, train, evaluate, keep everything in a run folder")
    sub.add_argument("recipe", type=Path)
    sub.add_argument("--output", type=Path, metavar="FOLDER", help="the run folder (default: runs/NAME)")
    sub.add_argument("--resume", action="store_true", help="continue a run that was cut off")

    models = ("trained", "control", "calibrated", "real", "off")
    text = "which model: of a run trained, control or calibrated; of a recipe real, or off (a student, quantizers off)"
    sub = command("evaluate", _evaluate, "COCO AP of a run, a saved student, or a recipe's real-valued model")
    sub.add_argument("target", type=Path, help="a run folder, a student's folder, or a recipe")
    sub.add_argument("--split", default="val", choices=("train", "val", "test"))
    sub.add_argument("--model", choices=models, help=text)
    sub.add_argument("--detections", type=Path, metavar="FILE", help="write the detections here, in COCO's format")
    sub.add_argument("--json", action="store_true", help="the numbers as JSON")

    sub = command("predict", _predict, "detect objects in images: boxes drawn, and COCO-format JSON")
    sub.add_argument("target", type=Path, help="a run folder, a student's folder, or a recipe")
    sub.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    sub.add_argument("--model", choices=models, help=text)
    sub.add_argument("--output", type=Path, default=Path("predictions"), metavar="FOLDER")
    sub.add_argument("--threshold", type=_share, default=0.3, help="draw boxes of at least this score (default 0.3)")
    sub.add_argument("--limit", type=int, help="only the first so many images")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    _calm()
    console = Console()
    try:
        arguments.run(arguments, console)
    except RecipeErrors as errors:
        _complain([str(problem) for problem in errors.problems])
        return 2
    except QRecipeError as error:
        _complain([str(error)])
        return 2
    except KeyboardInterrupt:
        _complain(["interrupted; a run goes on from its last checkpoint with --resume"])
        return 130
    except BrokenPipeError:
        # The reader of our output is gone (``qrecipe plan ... | head``); nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(f"error: {line}\n")


def _calm() -> None:
    """Keep other libraries' notices out of the user's terminal; errors still show."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate)\b")
    logging.getLogger("accelerate").setLevel(logging.ERROR)
