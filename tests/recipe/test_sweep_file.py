"""Sweep files: what is varied, and every mistake at its place."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.errors import RecipeErrors
from qrecipe.recipe import load_recipe
from qrecipe.recipe.sweep_file import read_sweep
from qrecipe.study.planned import planned_runs

BASE = "version: 1\nmodel: {architecture: demo}\ntrain: {epochs: 3}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with a sweep or its recipes, the file's name left out."""
    file = folder / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(RecipeErrors) as caught:
        planned_runs(read_sweep(file), folder / "runs")
    return [str(problem).replace(f"{file}:", "") for problem in caught.value.problems]


def test_a_sweep(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        "base: base.yaml\noutput: out\nset: {train.batch_size: 4}\nseeds: [7, 0]\n"
        "axes:\n  train.epochs: [1, 2]\n  kind: {plain: {}, sharp: {train.optimizer: {lr: 0.1}, train.batch_size: 2}}\n"
        "also:\n  other: {train.epochs: 9}\n"
    )
    sweep = read_sweep(folder / "sweep.yaml")
    assert sweep.output == folder / "out"
    runs = planned_runs(sweep, folder / "runs", ["train.patience=5"])
    assert [run.name for run in runs[:5]] == [
        "train.epochs=1, plain seed 7", "train.epochs=1, sharp seed 7", "train.epochs=2, plain seed 7",
        "train.epochs=2, sharp seed 7", "other seed 7",
    ]  # fmt: skip
    assert [run.number for run in runs] == list(range(1, 11))
    assert [run.seed for run in runs] == [7] * 5 + [0] * 5
    sharp = runs[1]
    assert (sharp.group, sharp.folder) == ("train.epochs=1, sharp", folder / "runs" / "train.epochs=1_sharp_seed7")
    assert sharp.changes == {"train.epochs": 1, "train.optimizer": {"lr": 0.1}, "train.batch_size": 2}
    train = sharp.recipe.train
    assert (train.epochs, train.batch_size, train.optimizer.lr, train.patience) == (1, 2, 0.1, 5)
    assert (sharp.recipe.seed, sharp.recipe.name) == (7, "train.epochs=1, sharp")
    assert (runs[0].recipe.train.batch_size, runs[4].recipe.train.epochs) == (4, 9)
    by_hand = load_recipe(folder / "base.yaml", ["seed=0", "name=other", "train.epochs=9", "train.batch_size=4"])
    assert {**runs[9].recipe.resolved, "train": None} == {**by_hand.resolved, "train": None}


def test_seeds_alone_and_variants_alone(folder: Path) -> None:
    (folder / "seeds.yaml").write_text("base: base.yaml\nseeds: [1, 2]\n")
    assert [run.name for run in planned_runs(read_sweep(folder / "seeds.yaml"), folder)] == ["seed 1", "seed 2"]
    (folder / "also.yaml").write_text("base: base.yaml\nalso: {short: {train.epochs: 1}}\n")
    (run,) = planned_runs(read_sweep(folder / "also.yaml"), folder)
    assert (run.name, run.seed, run.folder.name, run.recipe.train.epochs) == ("short", None, "short", 1)


@settings(max_examples=25)
@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(1, 3), max_size=3),
    st.lists(st.integers(0, 9), max_size=3, unique=True),
    st.integers(0, 2),
)
def test_every_combination_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, axes: dict[str, int], seeds: list[int], also: int
) -> None:
    """Against a loop; each axis sets its own part of the weights of the loss of nothing: a key of free text."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "base.yaml").write_text(BASE)
    written: dict[str, Any] = {"base": "base.yaml", "seeds": seeds}
    written["axes"] = {
        name: {f"{name}{number}": {f"model.config.{name}": number} for number in range(count)}
        for name, count in axes.items()
    }
    written["also"] = {f"also {number}": {"train.epochs": 10 + number} for number in range(also)}
    if not (axes or seeds or also):
        return
    (folder / "sweep.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    runs = planned_runs(read_sweep(folder / "sweep.yaml"), folder)
    expected = []
    for seed in seeds or [None]:
        if axes or not also:
            for values in itertools.product(*(range(count) for count in axes.values())):
                expected.append((seed, dict(zip(axes, values, strict=True)), 3))
        expected += [(seed, {}, 10 + number) for number in range(also)]
    found = [(run.seed, dict(run.recipe.model.config), run.recipe.train.epochs) for run in runs]
    assert found == expected
    assert len({run.folder for run in runs}) == len(runs)
    assert all(run.recipe.seed == (run.seed or 0) for run in runs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base: base.yaml\nseed: [1]\n", ['2:1: seed: unknown key (did you mean "seeds"?)']),
        ("axes: {}\nseeds: [1]\n", ["1:1: base: missing (a sweep begins with base: RECIPE.yaml)"]),
        ("base: 3\nseeds: [1]\n", ["1:7: base: expected a file, found 3 (a sweep begins with base: RECIPE.yaml)"]),
        ("base: base.yaml\n", ["1:1: nothing is varied (axes, also or seeds say what)"]),
        (BASE, ["1:1: this is a recipe, and no sweep (a sweep begins with base: RECIPE.yaml)"]),
        ("", ["1:1: the sweep is empty (a sweep begins with base: RECIPE.yaml)"]),
        ("- a\n", ["1:1: recipe: a sweep is a mapping, found a list (a sweep begins with base: RECIPE.yaml)"]),
        ("base: base.yaml\nseeds: [1, 1]\n", ["2:12: seeds[1]: 1 is there already (keep one of the two)"]),
        ("base: base.yaml\nseeds: [-1]\n", ["2:9: seeds[0]: -1 is no seed (a whole number from 0 to 4294967295)"]),
        (
            "base: base.yaml\nseeds: 3\n",
            ["2:8: seeds: expected a list of whole numbers, found 3 (for example [0, 1, 2])"],
        ),
        (
            "base: base.yaml\naxes: [a]\nseeds: [1]\n",
            ["2:7: axes: expected a mapping, found a list (a name for each axis)"],
        ),
        (
            "base: base.yaml\naxes: {train.epochs: 3}\n",
            ["2:22: axes.train.epochs: expected a list of values or named variants, found 3 "
             "(for example train.batch_size: [8, 16])"],
        ),
        (
            "base: base.yaml\naxes: {train.epochs: [1, 1]}\n",
            ["2:26: axes.train.epochs[1]: 1 is there already (keep one of the two)"],
        ),
        (
            "base: base.yaml\nalso: {a/b: {}}\n",
            ['2:8: also.a/b: "a/b" is no name of a variant (1 to 60 characters, no slash, no leading dot)'],
        ),
        (
            "base: base.yaml\nalso: {a: {seed: 3}}\n",
            ["2:12: also.a: every run of a sweep has a seed of its own (list them as seeds)"],
        ),
        ("base: base.yaml\nalso: {a: {output: x}}\n", ["2:12: also.a: every run of a sweep has an output of its own"]),
        (
            "base: base.yaml\nalso: {a: {a b: 3}}\n",
            ['2:12: "a b" is not a key path (write the keys with dots, for example train.stages[0].epochs)'],
        ),
        (
            "base: base.yaml\nalso: {a: {extends: x}}\n",
            ["2:12: extends is no key that can be varied (write a recipe that extends both)"],
        ),
        (
            "base: base.yaml\naxes: {train.epoch: [1]}\nseeds: [0, 1]\nalso: {a: {train.batch_size: 0}}\n",
            ['2:8: train.epoch: unknown key (did you mean "epochs"?)',
             "4:30: train.batch_size: must be at least 1; found 0 (expected a whole number of at least 1)"],
        ),
        (
            "base: base.yaml\naxes: {a: {x: {train.epochs: 3}, y: {}}}\n",
            ["2:34: y and x are the same recipe "
             "(leave one of the two out; a variant that no axis changes stands in also)"],
        ),
        (
            "base: base.yaml\nalso: {a b: {train.epochs: 1}, a_b: {train.epochs: 2}}\n",
            ["2:32: a_b and a b are one folder, a_b (give one of them another name)"],
        ),
        (
            "base: base.yaml\nseeds: [1]\n"
            "axes: {a: &a {" + ", ".join(f"v{n}: {{}}" for n in range(200)) + "}, b: *a, c: *a}\n",
            ["3:7: axes: makes 8000000 runs (at most 10000 are one sweep)"],
        ),
    ],
)  # fmt: skip
def test_mistakes(folder: Path, text: str, expected: list[str]) -> None:
    found = problems(folder, text)
    assert found == expected, json.dumps(found, indent=1)


def test_files_that_are_not_there(folder: Path) -> None:
    with pytest.raises(RecipeErrors, match=r"nowhere\.yaml: no such file"):
        read_sweep(folder / "nowhere.yaml")
    found = problems(folder, "base: nowhere.yaml\nseeds: [1]\n")
    assert found == [f"{folder / 'nowhere.yaml'}: no such file (in {folder} there is base.yaml, sweep.yaml)"]


def test_a_sweep_is_no_recipe(folder: Path) -> None:
    (folder / "sweep.yaml").write_text("base: base.yaml\nseeds: [1]\n")
    with pytest.raises(RecipeErrors, match=r"this is a sweep, and no recipe \(qrecipe sweep "):
        load_recipe(folder / "sweep.yaml")


def test_paths_start_from_the_file_that_says_them(folder: Path) -> None:
    (folder / "inner").mkdir()
    text = "base: ../base.yaml\nalso: {filled: {model.weights: {file: w.safetensors}}}\n"
    (folder / "inner" / "sweep.yaml").write_text(text)
    (run,) = planned_runs(read_sweep(folder / "inner" / "sweep.yaml"), folder)
    assert run.recipe.resolved["model"]["weights"]["file"] == str(folder / "inner" / "w.safetensors")
