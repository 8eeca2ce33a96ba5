"""What calibration, the rewrites and reconstruction leave of a detector without training, at several bits.

    COCO_FREE=folder python benchmarks/without_training.py benchmarks/coco_free/deimv2_atto.yaml --split val \\
        --set model.factory=deimv2_atto/build.py:build --folder runs/without_training

Prints a Markdown table: AP, and what it is of the real-valued model's, with everything quantized that integer runtimes
quantize (stem and heads too), and with the recipe's own exceptions. The model is captured once. Every figure is kept in
the folder, so that a table that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qrecipe.experiment.detector import score, student_detector
from qrecipe.experiment.events import Event
from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import Recipe, ReconstructSpec
from qrecipe.reconstruct import Imitation, ReconstructSettings, reconstruct
from qrecipe.report.amounts import share, three_places
from qrecipe.report.lines import lines_of
from qrecipe.run.ledger import Ledger
from qrecipe.student import Student, calibrate, make_student, real_valued
from qrecipe.train.denormals import flushed_denormals
from qrecipe.train.imitate import imitate
from qrecipe.train.records import Records

WIDTHS = ("8-8-8", "6-6-8", "4-8-8", "4-4-8")
EXTENTS: Mapping[str, tuple[str, ...]] = {"everything": ("quantize.rules=[]",), "with the recipe's exceptions": ()}
METHODS: Mapping[str, tuple[str, ...]] = {
    "ranges": (),
    "+ equalize": ("quantize.equalize=true",),
    "+ smooth": ("quantize.smooth=0.5",),
    "+ correct_biases": ("quantize.correct_biases=true",),
    "+ equalize, correct_biases": ("quantize.equalize=true", "quantize.correct_biases=true"),
    "+ compensate": ("quantize.reconstruct.iterations=0",),
    "+ reconstruct": ("quantize.reconstruct={}",),
    "+ compensate, whole": ("quantize.reconstruct.iterations=0", "quantize.reconstruct.whole.steps={steps}"),
    "+ whole": ("quantize.reconstruct.iterations=null", "quantize.reconstruct.whole.steps={steps}"),
}


class Table:
    """One captured model, scored as many students."""

    def __init__(self, path: Path, overrides: list[str], split: str, folder: Path) -> None:
        self.path, self.overrides, self.split = path, overrides, split
        recipe = load_recipe(path, overrides)
        self.workspace = Workspace(recipe, ("train", split), remark)
        self.ledger = Ledger(folder, {"recipe": dict(recipe.resolved), "split": split})

    def score(self, *changes: str, real: bool = False) -> tuple[float, float]:
        """AP on the split and seconds: as calibrated, or reconstructed where the changes say so."""
        found = self.ledger.recall([*changes, real])
        if found is None:
            recipe = load_recipe(self.path, [*self.overrides, *changes])
            start = time.monotonic()
            found = {"AP": self._measure(real_valued(recipe) if real else recipe)}
            found["seconds"] = time.monotonic() - start
            self.ledger.keep([*changes, real], found)
        return found["AP"], found["seconds"]

    def _measure(self, recipe: Recipe) -> float | None:
        return score(student_detector(self.student(recipe)), self.workspace, self.split)[0].AP

    def student(self, recipe: Recipe) -> Student:
        """Calibrated, and reconstructed where the recipe says so."""
        original = self.workspace.original
        student = make_student(original, recipe)
        if student.quantizers:
            calibrate(student, self.calibration(recipe))
            if recipe.quantize.reconstruct is not None:
                reference = make_student(original, recipe)
                reference.load_state_dict(student.state_dict())
                self._reconstruct(student, reference, recipe.quantize.reconstruct)
        return student

    def _reconstruct(self, student: Student, real: Student, spec: ReconstructSpec) -> None:
        seed = self.workspace.recipe.seed
        if spec.iterations is not None:
            settings = ReconstructSettings(spec.iterations, 1 - spec.drop, seed)
            reconstruct(student, self._batches(spec.batch_size, spec.batches), settings, real=real)
        if spec.whole.steps:
            assert student.label_map is not None
            whole = spec.whole
            loader = self.workspace.unlabelled(student.label_map, student.input, whole.batch_size, whole.images)
            with TemporaryDirectory() as folder:
                records = Records(Path(folder), "reconstruction")
                imitate(Imitation(student, real), loader, spec, records, seed=seed, listener=remark)

    def calibration(self, recipe: Recipe | None = None) -> list[Any]:
        """The batches that set the ranges."""
        spec = (recipe or self.workspace.recipe).quantize.calibration
        return self._batches(spec.batch_size, spec.batches)

    def _batches(self, size: int, count: int) -> list[Any]:
        original = self.workspace.original
        assert original.label_map is not None
        loader = self.workspace.batches("train", original.label_map, original.input, train=False, batch_size=size)
        return list(islice(loader, count))


def bits(width: str) -> tuple[str, ...]:
    """A recipe's keys for weights, activations and attention, as in 4-4-8."""
    kinds = ("weight", "activation", "attention")
    return tuple(f"quantize.{kind}.bits={count}" for kind, count in zip(kinds, width.split("-"), strict=True))


def changes_of(method: str, steps: int) -> list[str]:
    """A method's keys of the recipe. steps: of the whole network at once."""
    return [change.replace("{steps}", str(steps)) for change in METHODS[method]]


def named(method: str, steps: int) -> str:
    """A method as a table calls it."""
    return f"{method}, {steps} steps" if any("{steps}" in change for change in METHODS[method]) else method


def remark(event: Event) -> None:
    for line in lines_of(event):
        print(f"<!-- {line} -->", flush=True)


def main(table: Table, methods: list[str], widths: list[str], extents: list[str], steps: int) -> None:
    real, _ = table.score(real=True)
    print(f"\nreal-valued AP {three_places(real)}\n")
    print(f"| quantized | W-A-Attention | {' | '.join(named(one, steps) for one in methods)} |")
    print("|---|---|" + "---|" * len(methods), flush=True)
    for extent in extents:
        for width in widths:
            cells = []
            for method in methods:
                found, seconds = table.score(*EXTENTS[extent], *bits(width), *changes_of(method, steps))
                cells.append(f"{three_places(found)} ({share(found, real)}, {seconds:.0f} s)")
            print(f"| {extent} | {width} | {' | '.join(cells)} |", flush=True)


def arguments(description: str | None, split: str) -> argparse.ArgumentParser:
    """What a table of students needs to know. split: that is scored unless another is named."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--split", default=split)
    parser.add_argument("--folder", type=Path, required=True)
    return parser


if __name__ == "__main__":
    parser = arguments(__doc__, split="test")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--bits", nargs="+", default=list(WIDTHS), metavar="W-A-ATTENTION")
    parser.add_argument("--steps", type=int, default=400, help="of the whole network at once")
    parser.add_argument("--quantized", nargs="+", choices=list(EXTENTS), default=list(EXTENTS))
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps: at least 1, found {given.steps}")
    with flushed_denormals():
        table = Table(given.recipe, given.set, given.split, given.folder)
        main(table, given.methods, given.bits, given.quantized, given.steps)
