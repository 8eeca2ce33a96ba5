"""What reconstruction of blocks takes: seconds of each block, and the process's peak memory.

    python benchmarks/reconstruct_blocks.py recipes/detr_r50_w4a4.yaml --size 480x640 --images 32 --iterations 10

Prints a Markdown table. Random weights and noise for images, which takes what trained ones take. ``--iterations`` is
the number of steps per block; seconds grow with it, memory does not.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import torch
from coverage import CLASSES, build

from qrecipe.data.batch import Batch
from qrecipe.recipe import load_recipe
from qrecipe.reconstruct import BlockReport, ReconstructSettings, reconstruct
from qrecipe.student import calibrate, capture_original, make_student


def noise(count: int, size: int, height: int, width: int, masked: bool) -> list[Batch]:
    """So many images in batches of ``size``."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(size, height, width, dtype=torch.int64) if masked else None
    sizes = torch.tensor([[height, width]] * size)
    return [
        Batch(torch.randn(size, 3, height, width, generator=generator), mask, [], list(range(size)), sizes)
        for _ in range(count // size)
    ]


def gigabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(given: argparse.Namespace) -> None:
    height, width = map(int, given.size.split("x"))
    recipe = load_recipe(given.recipe, data=False)
    built = build(recipe, CLASSES)
    shown = replace(built.input, size=(height, width), shortest=None, longest=None)
    original = capture_original(built.model, built.family, shown, label_map=built.label_map)
    student = make_student(original, recipe)
    batches = noise(given.images, given.batch_size, height, width, bool(built.input.mask))
    calibrate(student, batches)
    print(
        f"calibrated: {gigabytes():.1f} GB at most so far\n\n| block | weighted | seconds | peak |\n|---|---|---|---|"
    )
    start = time.perf_counter()
    taken: list[float] = []

    def told(report: BlockReport, number: int, total: int) -> None:
        nonlocal start
        seconds, start = time.perf_counter() - start, time.perf_counter()
        taken.append(seconds)
        print(f"| {report.name} | {report.weighted} | {seconds:.1f} | {gigabytes():.1f} GB |", flush=True)

    reconstruct(student, batches, ReconstructSettings(given.iterations, 0.5, 0), on_block=told)
    print(f"\n{len(taken)} blocks, {sum(taken):.0f} s, at most {gigabytes():.1f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--size", default="480x640", metavar="HxW")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=500)
    main(parser.parse_args())
