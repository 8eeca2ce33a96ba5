"""Where the time goes between a model and its student, at published size.

    python benchmarks/capture.py recipes/detr_r50_w4a4.yaml recipes/rt_detr_v2_r18_w4a4.yaml

Prints a Markdown table: seconds by the clock, on as many cores as torch takes, for building the model, for its capture
in training and in evaluation mode (nearly all of it in torch.export, which uses one core), for the comparison with the
model at other sizes, outputs and gradients, and for planning and rewriting. Random weights. Wants an idle machine.

    python benchmarks/capture.py recipes/detr_r50_w4a4.yaml recipes/quickstart_w4a4.yaml --commands

Prints another: whole commands, in processes of their own, by turns: with a capture made anew (`--no-cache`), and with
one that an earlier command has kept, in a cache folder of the benchmark. Of each the least of `--repeats`, by the clock
and in the processor's seconds, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from coverage import build

from qrecipe.capture import capture
from qrecipe.models.families import Family
from qrecipe.models.open_windows import open_windows
from qrecipe.recipe import load_recipe
from qrecipe.student import capture_original, make_student

CLASSES = 80
WARM_UP = Path(__file__).resolve().parents[1] / "recipes" / "quickstart_w4a4.yaml"
SIZE = (2, 256, 320)
T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def inputs(family: Family, batch: int, height: int, width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    mask = torch.ones(batch, height, width, dtype=torch.int64)
    mask[0, height * 3 // 4 :] = 0
    return family.inputs(torch.rand(batch, 3, height, width, generator=generator), mask)


def one(path: Path) -> list[float]:
    """Seconds of every step."""
    recipe = load_recipe(path, data=False)
    building, built = timed(lambda: build(recipe, CLASSES))
    model, family = built.model, built.family

    shown = replace(built.input, size=SIZE[1:], shortest=None, longest=None)
    with open_windows(model):
        capturing, _ = timed(lambda: capture(model, family.forward, inputs(family, *SIZE)))
    whole, original = timed(lambda: capture_original(model, family, shown, label_map=built.label_map))
    rewriting, _ = timed(lambda: make_student(original, recipe))
    return [building, capturing, max(whole - capturing, 0.0), rewriting, whole + rewriting]


COMMANDS: dict[str, list[str]] = {"plan": ["plan"], "validate --bind": ["validate", "--bind"], "inspect": ["inspect"]}


def command(words: list[str], cache: Path) -> tuple[float, float]:
    """Seconds of a command by the clock, and the processor's."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    environment = {**os.environ, "QRECIPE_CACHE": str(cache)}
    line = [sys.executable, "-m", "qrecipe", *words]
    seconds, _ = timed(lambda: subprocess.run(line, env=environment, check=True, capture_output=True))
    return seconds, used() - before


def commands(recipes: list[Path], names: list[str], repeats: int) -> None:
    print("| recipe | command | captured anew | processor | kept | processor |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        for recipe in recipes:
            command(["plan", str(recipe), "--random-weights"], Path(cache))  # keeps the capture
            for name in names:
                words = [*COMMANDS[name], str(recipe), "--random-weights"]
                found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
                for _ in range(repeats):
                    for kept, times in found.items():
                        times.append(command(words if kept else [*words, "--no-cache"], Path(cache)))
                least = [min(column) for times in found.values() for column in zip(*times, strict=True)]
                cells = " | ".join(f"{seconds:.1f} s" for seconds in least)
                print(f"| {recipe.stem} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--commands", nargs="*", choices=tuple(COMMANDS), help="whole commands instead, by turns")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.commands is not None:
        commands(arguments.recipes, arguments.commands or list(COMMANDS), arguments.repeats)
        sys.exit()
    print(f"{torch.get_num_threads()} threads\n")
    print("| recipe | build | capture | compare | plan and rewrite | compile in all |")
    print("|---|---|---|---|---|---|")
    one(WARM_UP)  # the first capture of a process pays for torch's own imports
    for recipe in arguments.recipes:
        print(f"| {recipe.stem} | {' | '.join(f'{seconds:.1f} s' for seconds in one(recipe))} |", flush=True)
