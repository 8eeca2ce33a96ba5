"""How fast plans are made once a model's structure is known: what a search over bits can ask for.

    python benchmarks/plan.py recipes/detr_r50_w4a4.yaml recipes/quickstart_w4a4.yaml

Prints a Markdown table: the sites of the structure, the seconds of its analysis and of the first plan, and how many
plans with their cost a minute has room for, one after the other on one core: the recipe as it is, random bits for every
weight site by site, and a rule with random bits for every module that has a weight. Random weights; the capture, which
takes far longer, is not counted.

    python benchmarks/plan.py --against FOLDER --repeats 2 recipes/quickstart_w4a4.yaml

times the whole command `qrecipe plan` instead, capture included, here and in another checkout by turns, one process
each, and prints the ratio of the processor's seconds: those of a busy machine can be compared, the clock's cannot.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from capture import CLASSES, SIZE, inputs, timed
from coverage import build

from qrecipe.capture import capture
from qrecipe.models.open_windows import open_windows
from qrecipe.planning import build_plan, cost_of
from qrecipe.recipe import load_recipe
from qrecipe.recipe.definition import QuantizerSpec, Recipe, Rule
from qrecipe.structure import Structure, analyse
from qrecipe.student import plan_size

BITS = (2, 3, 4, 6, 8)
SECONDS = 5.0


def structure_of(recipe: Recipe) -> tuple[Structure, float, tuple[int, int]]:
    """The analysed model of a recipe, the seconds of its analysis, and the image size at which costs are counted."""
    built = build(recipe, CLASSES)
    with open_windows(built.model):
        captured = capture(built.model, built.family.forward, inputs(built.family, *SIZE))
    seconds, structure = timed(lambda: analyse(captured, recipe.model.roles))
    return structure, seconds, plan_size(built.input)


def by_site(structure: Structure, spec: QuantizerSpec) -> dict[str, QuantizerSpec | None]:
    """Random bits for every weight."""
    weights = [name for name, facts in structure.sites.items() if facts.kind == "weight"]
    return {name: replace(spec, bits=random.choice(BITS)) for name in weights}


def by_rule(structure: Structure, recipe: Recipe) -> Recipe:
    """The recipe with a rule for every module that has a weight, each with random bits."""
    modules = {facts.address.module for facts in structure.sites.values() if facts.kind == "weight"}
    rules = tuple(
        Rule((module,), ("quantize", "rules", index), weight={"bits": random.choice(BITS)})
        for index, module in enumerate(sorted(modules))
        if module
    )
    return replace(recipe, quantize=replace(recipe.quantize, rules=rules))


def a_minute(plan: Callable[[], object]) -> float:
    """How many a minute has room for, by the median of as many as some seconds have."""
    taken: list[float] = []
    while sum(taken) < SECONDS:
        start = time.perf_counter()
        plan()
        taken.append(time.perf_counter() - start)
    return 60 / statistics.median(taken)


def one(path: Path) -> list[str]:
    recipe = load_recipe(path, data=False)
    spec = recipe.quantize.weight
    assert spec is not None
    structure, analysis, size = structure_of(recipe)
    first, _ = timed(lambda: build_plan(structure, recipe, size))
    again, sites, rules = (
        a_minute(lambda: cost_of(build_plan(structure, recipe, size))),
        a_minute(lambda: cost_of(build_plan(structure, recipe, size, specs=by_site(structure, spec)))),
        a_minute(lambda: cost_of(build_plan(structure, by_rule(structure, recipe), size))),
    )
    counts = [f"{count:,.0f}" for count in (again, sites, rules)]
    return [str(len(structure.sites)), f"{analysis:.2f} s", f"{first:.3f} s", *counts]


def command_seconds(checkout: Path, recipe: Path) -> float:
    """Seconds that the processor takes for `qrecipe plan` with a checkout's code, on one thread."""
    command = [sys.executable, "-m", "qrecipe", "plan", str(recipe.absolute()), "--random-weights"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout.absolute()), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ratio(recipe: Path, other: Path, repeats: int) -> str:
    """A row: the least seconds here, there, and the one by the other. Each goes first as often as the other."""
    checkouts = [Path(__file__).resolve().parents[1], other]
    seconds: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
    for turn in range(repeats):
        for checkout in checkouts[:: 1 if turn % 2 == 0 else -1]:
            seconds[checkout].append(command_seconds(checkout, recipe))
    here, there = (min(seconds[checkout]) for checkout in checkouts)
    return f"| {recipe.stem} | {here:.1f} s | {there:.1f} s | {here / there:.2f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of qrecipe")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.against is not None:
        print("| recipe | here | there | here / there |\n|---|---|---|---|")
        for recipe in arguments.recipes:
            print(ratio(recipe, arguments.against, arguments.repeats), flush=True)
        raise SystemExit
    torch.set_num_threads(1)
    random.seed(0)
    print("| recipe | sites | analysis | first plan | plans a minute | bits by site | bits by rule |")
    print("|---|---|---|---|---|---|---|")
    for recipe in arguments.recipes:
        print(f"| {recipe.stem} | {' | '.join(one(recipe))} |", flush=True)
