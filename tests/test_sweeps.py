"""Every sweep that is shipped is valid, and its runs fit their models."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qrecipe.commands.plan import plan
from qrecipe.recipe import recipe_from_mapping
from qrecipe.recipe.sweep_file import read_sweep
from qrecipe.study.planned import planned_runs
from tests.test_recipes import SWEEPS

ROOT = Path(__file__).parents[1]
SMALL = [
    "model.config={width: 16, queries: 6, decoder_layers: 1, heads: 2}",
    "data.synthetic={train: 2, val: 2, test: 2}",
]


def test_there_are_sweeps() -> None:
    assert "ablation" in {path.stem for path in SWEEPS}


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_fits_its_models(path: Path) -> None:
    """Every run of its first seed; rules that match nothing would be errors."""
    sweep = read_sweep(path)
    runs = planned_runs(sweep, ROOT / "runs", SMALL, random_weights=True)
    assert len(runs) == len(sweep.variants) * len(sweep.seeds)
    for run in runs[: len(sweep.variants)]:
        assert bool(plan(run.recipe).quantizers) == (run.recipe.quantize.weight is not None)


def test_the_ablation_is_the_paper_s_table_and_ours() -> None:
    """Methods differ in what they distil, widths in bits, parts in what is quantized, seeds in nothing else."""
    runs = {run.name: run.recipe for run in planned_runs(read_sweep(ROOT / "recipes" / "ablation.yaml"), ROOT / "runs")}
    assert len(runs) == 95
    kinds = {"lsq+": (0, 0), "alignment": (1, 0), "matching": (0, 1), "both": (1, 1), "same queries": (0, 6)}
    base = yaml.safe_load((ROOT / "recipes" / "base" / "same_queries.yaml").read_text(encoding="utf-8"))["distill"]
    assert (
        runs["same queries, 4-4-8 seed 0"].resolved["distill"]["targets"]
        == recipe_from_mapping({"version": 1, "model": {"architecture": "demo"}, "distill": base}).resolved["distill"][
            "targets"
        ]
    )
    for name, recipe in runs.items():
        method, _, rest = name.partition(", ")
        counts = len(recipe.distill.align), len(recipe.distill.targets)
        specs = recipe.quantize.weight, recipe.quantize.activation, recipe.quantize.attention
        bits = [spec and spec.bits for spec in specs]
        assert counts == kinds.get(method, (0, 0))
        assert bits == ([None] * 3 if name.startswith("real") else list(map(int, (rest or name)[:5].split("-"))))
        assert recipe.seed == int(name[-1])
        same = {"name", "seed", "quantize", "distill"}
        beside = runs["both, 4-4-8 seed 0"].resolved
        assert {k: v for k, v in recipe.resolved.items() if k not in same} == {
            k: v for k, v in beside.items() if k not in same
        }
