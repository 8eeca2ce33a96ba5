"""How long a training step takes: real-valued, 4-4-8 with plain and with fused fake quantizers, and distilled as well.

    python benchmarks/train_step.py [--batch 16] [--repeats 8] [--threads 1]

One process, the built-in detector at 128x128, the same batch; medians, and ratios to the real-valued step. The order is
turned around at every repeat, so that a drifting machine does not favour one of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from qrecipe import Batch, TrainingModule, calibrate, load_recipe
from qrecipe.models.loading.build import build_model
from qrecipe.student import capture_original, make_student, real_valued

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart_w4a4.yaml"


def random_batch(size: int) -> Batch:
    """Noise with two objects an image."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(size, 3, 128, 128, generator=generator)
    boxes = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.3, 0.4]])
    labels = [{"class_labels": torch.tensor([0, 1]), "boxes": boxes} for _ in range(size)]
    return Batch(pixels, None, labels, list(range(size)), torch.full((size, 2), 128))


def step(module: TrainingModule, batch: Batch) -> float:
    """Seconds of one forward and backward."""
    module.zero_grad(set_to_none=True)
    began = time.perf_counter()
    loss, _ = module(batch)
    loss.backward()
    return time.perf_counter() - began


def main() -> None:
    """Time the four, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    recipe = load_recipe(RECIPE)
    categories = [(1, "disc"), (2, "square"), (3, "triangle")]
    built = build_model(recipe.model, categories, recipe.train.loss, random_weights=True)
    original = capture_original(built.model, built.family, built.input)
    batch = random_batch(arguments.batch)
    student, plain = make_student(original, recipe), make_student(original, recipe)
    for one in (student, plain):
        calibrate(one, [batch])
    distilled = TrainingModule(student, make_student(original, real_valued(recipe, targets=True)))
    undistilled = TrainingModule(plain, make_student(original, real_valued(recipe, targets=True)))
    undistilled.teacher = None
    modules = {
        "real-valued": (TrainingModule(make_student(original, real_valued(recipe))), "1"),
        "4-4-8, plain fake quantizers": (undistilled, "0"),
        "4-4-8, fused fake quantizers": (undistilled, "1"),
        "4-4-8, fused, distilled": (distilled, "1"),
    }
    times: dict[str, list[float]] = {name: [] for name in modules}
    for repeat in range(-2, arguments.repeats):
        for name in list(modules) if repeat % 2 else list(modules)[::-1]:
            module, fused = modules[name]
            os.environ["QRECIPE_FUSED"] = fused
            seconds = step(module.train(), batch)
            if repeat >= 0:
                times[name].append(seconds)
    table = Table(title=f"Training step, batch {arguments.batch}, {arguments.threads} thread(s)")
    table.add_column("step")
    table.add_column("ms", justify="right")
    table.add_column("ratio", justify="right")
    base = statistics.median(times["real-valued"])
    for name, values in times.items():
        median = statistics.median(values)
        table.add_row(name, f"{1000 * median:.0f}", f"{median / base:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
