"""What calibration alone leaves of a detector at several bit-widths, and which role loses most when quantized alone.

    COCO_FREE=folder python benchmarks/coco_free/calibration.py --set model.factory=deimv2_atto/build.py:build

Prints two Markdown tables of AP on the validation split. Nothing is trained; ranges come from the recipe's first
batches of the training split. The model is captured once.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from qrecipe.evaluation import Evaluation
from qrecipe.experiment.detector import score, student_detector
from qrecipe.experiment.events import Event
from qrecipe.experiment.workspace import Workspace
from qrecipe.planning import cost_of
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import Recipe
from qrecipe.report.amounts import share, three_places
from qrecipe.report.lines import lines_of
from qrecipe.student import Student, calibrate, make_student, real_valued

RECIPE = Path(__file__).parent / "deimv2_atto.yaml"
WIDTHS = ((8, 8, 8), (6, 6, 8), (4, 4, 8))
ALONE = (8, 4)
"""Bits of the one role that is quantized: of its weights, activations and attention operands alike."""


def at_bits(overrides: list[str], weight: int, activation: int, attention: int) -> Recipe:
    """The recipe at W-A-Attention bits."""
    bits = {"weight": weight, "activation": activation, "attention": attention}
    return load_recipe(RECIPE, [*overrides, *(f"quantize.{kind}.bits={count}" for kind, count in bits.items())])


def only(overrides: list[str], role: str, bits: int) -> Recipe:
    """The recipe with one role quantized, whatever its own rules say of it."""
    own = ", ".join(f"{kind}: {{bits: {bits}}}" for kind in ("weight", "activation", "attention"))
    rules = f'[{{match: "role:*", keep: float}}, {{match: "role:{role}", {own}}}]'
    return load_recipe(RECIPE, [*overrides, f"quantize.rules={rules}"])


def remark(event: Event) -> None:
    for line in lines_of(event):
        print(f"<!-- {line} -->", flush=True)


class Bench:
    """One captured model, scored as many students."""

    def __init__(self, recipe: Recipe) -> None:
        self.workspace = Workspace(recipe, ("train", "val"), remark)

    def score(self, recipe: Recipe) -> tuple[Evaluation, Student]:
        """AP on the validation split after calibration, where there is anything to calibrate."""
        student = make_student(self.workspace.original, recipe)
        if student.quantizers:
            spec = recipe.quantize.calibration
            assert student.label_map is not None
            batches = self.workspace.batches(
                "train", student.label_map, student.input, train=False, batch_size=spec.batch_size
            )
            calibrate(student, list(islice(batches, spec.batches)))
        return score(student_detector(student), self.workspace, "val")[0], student


def main(overrides: list[str]) -> None:
    recipe = at_bits(overrides, 8, 8, 8)
    bench = Bench(recipe)
    reference, real = bench.score(real_valued(recipe))
    print("\n| W-A-Attention | AP | AP50 | of real-valued | fewer operations |\n|---|---|---|---|---|")
    print(f"| real-valued | {three_places(reference.AP)} | {three_places(reference.AP50)} | 100% | 1.00x |", flush=True)
    for widths in WIDTHS:
        found, student = bench.score(at_bits(overrides, *widths))
        cost = cost_of(student.plan)
        name = "-".join(map(str, widths))
        scores = [three_places(found.AP), three_places(found.AP50), share(found.AP, reference.AP)]
        print(f"| {name} | {' | '.join(scores)} | {cost.macs / cost.operations:.2f}x |", flush=True)
    macs: dict[str, int] = {}
    for operation in real.plan.operations:
        macs[operation.role] = macs.get(operation.role, 0) + operation.macs
    heads = [f"AP at {bits} bits | of real-valued" for bits in ALONE]
    print(
        f"\n| only this role is quantized | share of MACs | {' | '.join(heads)} |\n|---|---|{'---|---|' * len(ALONE)}"
    )
    for role, count in macs.items():
        cells = [role, f"{count / sum(macs.values()):.1%}"]
        for bits in ALONE:
            found, _ = bench.score(only(overrides, role, bits))
            cells += [three_places(found.AP), share(found.AP, reference.AP)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the recipe")
    main(parser.parse_args().set)
