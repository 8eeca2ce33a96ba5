"""What rewrites that keep the function, and corrected biases, are worth without training.

    python benchmarks/rewrites.py RECIPE [--set KEY=VALUE ...] [--bits 8-8-8 4-8-8]

Prints a Markdown table of AP on the validation split. Everything is quantized, stem and heads too. The model is
captured once.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from qrecipe.experiment.detector import score, student_detector
from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import Recipe
from qrecipe.report.amounts import share
from qrecipe.student import Student, calibrate, make_student, real_valued

WIDTHS = ("8-8-8", "4-8-8", "6-6-8", "4-4-8")
WAYS = {
    "ranges alone": (),
    "equalized": ("quantize.equalize=true",),
    "smoothed": ("quantize.smooth=0.5",),
    "biases corrected": ("quantize.correct_biases=true",),
    "equalized, biases corrected": ("quantize.equalize=true", "quantize.correct_biases=true"),
}
EVERYTHING = ("train.epochs=0", "quantize.rules=[]", "distill.align=[]")


def at(path: Path, overrides: list[str], widths: str, way: str) -> Recipe:
    """The recipe at W-A-Attention bits, with one way's switches."""
    named = zip(("weight", "activation", "attention"), widths.split("-"), strict=True)
    bits = [f"quantize.{kind}.bits={count}" for kind, count in named]
    return load_recipe(path, [*EVERYTHING, *overrides, *bits, *WAYS[way]])


def calibrated(place: Workspace, recipe: Recipe) -> Student:
    student = make_student(place.original, recipe)
    spec = recipe.quantize.calibration
    assert student.label_map is not None
    images = place.batches("train", student.label_map, student.input, train=False, batch_size=spec.batch_size)
    calibrate(student, list(islice(images, spec.batches)))
    return student


def main(path: Path, overrides: list[str], widths: list[str]) -> None:
    recipe = at(path, overrides, widths[0], "ranges alone")
    place = Workspace(recipe, ("train", "val"))
    real = score(student_detector(make_student(place.original, real_valued(recipe))), place, "val")[0].AP
    print(f"real-valued {real:.4f}\n\n| W-A-Attention | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}", flush=True)
    for bits in widths:
        cells = []
        for way in WAYS:
            student = calibrated(place, at(path, overrides, bits, way))
            if way == "smoothed" and not student.plan.smoothed:
                cells.append("no chain")
                continue
            found = score(student_detector(student), place, "val")[0].AP
            cells.append(f"{found:.3f}, {share(found, real)}")
        print(f"| {bits} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the recipe")
    parser.add_argument("--bits", nargs="+", default=list(WIDTHS), metavar="W-A-ATTENTION")
    arguments = parser.parse_args()
    main(arguments.recipe, arguments.set, arguments.bits)
