"""Where the time goes between a model and its student, at published size.

    python benchmarks/capture.py recipes/detr_r50_w4a4.yaml recipes/rt_detr_v2_r18_w4a4.yaml

Prints a Markdown table: seconds by the clock, on as many cores as torch takes, for building the model, for its capture
in training and in evaluation mode (nearly all of it in torch.export, which uses one core), for the comparison with the
model at other sizes, outputs and gradients, and for planning and rewriting. Random weights. Wants an idle machine.
"""

from __future__ import annotations

import argparse
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    print(f"{torch.get_num_threads()} threads\n")
    print("| recipe | build | capture | compare | plan and rewrite | compile in all |")
    print("|---|---|---|---|---|---|")
    one(WARM_UP)  # the first capture of a process pays for torch's own imports
    for recipe in parser.parse_args().recipes:
        print(f"| {recipe.stem} | {' | '.join(f'{seconds:.1f} s' for seconds in one(recipe))} |", flush=True)
