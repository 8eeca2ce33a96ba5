"""``extends``, ``--set`` and relative paths: which value wins, and where it is said to stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.recipe import Mark, StageSpec, load_recipe, recipe_from_mapping
from tests.recipe.examples import FULL, MINIMAL, problems, write


def test_later_recipes_win_and_mappings_are_merged(tmp_path: Path) -> None:
    write(tmp_path, "seed: 1\ntrain:\n  batch_size: 2\n  optimizer: {lr: 1, betas: [0.1, 0.2]}\n", "base/one.yaml")
    write(tmp_path, "seed: 2\ntrain: {optimizer: {betas: [0.3, 0.4]}}\n", "base/two.yaml")
    text = MINIMAL + "extends: [base/one.yaml, base/two.yaml]\ntrain: {optimizer: {weight_decay: 3}}\n"
    path = write(tmp_path, text)
    recipe = load_recipe(path)
    optimizer = recipe.train.optimizer
    assert (recipe.seed, recipe.train.batch_size, optimizer.lr, optimizer.betas) == (2, 2, 1.0, (0.3, 0.4))
    assert optimizer.weight_decay == 3.0
    assert "extends" not in recipe.resolved
    one, two = str(tmp_path / "base/one.yaml"), str(tmp_path / "base/two.yaml")
    assert recipe.marks[("train", "batch_size")] == Mark(one, 3, 15)
    assert recipe.marks[("seed",)] == Mark(two, 1, 7)
    assert recipe.marks[("train", "optimizer", "betas", 0)] == Mark(two, 2, 29)
    assert recipe.marks[("train", "optimizer", "weight_decay")] == Mark(str(path), 4, 35)


def test_lists_are_replaced_with_their_marks(tmp_path: Path) -> None:
    write(tmp_path, "quantize:\n  rules: [{match: a, keep: float}, {match: b, keep: float}]\n", "base.yaml")
    recipe = load_recipe(
        write(tmp_path, MINIMAL + "extends: base.yaml\nquantize: {rules: [{match: c, keep: float}]}\n")
    )
    assert [rule.match for rule in recipe.quantize.rules] == [("c",)]
    assert not [place for place in recipe.marks if place[:3] == ("quantize", "rules", 1)]


def test_null_takes_a_key_of_the_base_back(tmp_path: Path) -> None:
    base = "model: {architecture: a, weights: {hub: h}}\nquantize: {weight: {bits: 4, quantizer: lsq, per: tensor}}\n"
    write(tmp_path, base, "base.yaml")
    text = "version: 1\nextends: base.yaml\nmodel: {weights: {hub: null, file: w}}\nquantize: {weight: null}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.quantize.weight is None
    assert recipe.model.weights is not None
    assert (recipe.model.weights.hub, recipe.model.weights.file) == (None, tmp_path / "w")


def test_a_mistake_in_a_base_stands_in_the_base(tmp_path: Path) -> None:
    write(tmp_path, "train:\n  batch_sise: 2\n", "base/deep.yaml")
    write(tmp_path, "extends: deep.yaml\n", "base/base.yaml")
    found = problems(write(tmp_path, MINIMAL + "extends: base/base.yaml\nsede: 1\n"))
    assert [line.split(": unknown")[0] for line in found] == [
        "recipe.yaml:4:1: sede",
        "base/deep.yaml:2:3: train.batch_sise",
    ]


def test_cycles_and_missing_bases_stand_where_they_are_named(tmp_path: Path) -> None:
    write(tmp_path, "extends: ../recipe.yaml\n", "base/a.yaml")
    found = problems(write(tmp_path, MINIMAL + "extends: [base/a.yaml, none.yaml]\nsede: 1\n"))
    assert [line.split(" (")[0] for line in found] == [
        "recipe.yaml:3:24: extends[1]: none.yaml: no such file",
        "recipe.yaml:4:1: sede: unknown key",
        "base/a.yaml:1:10: extends: recipe.yaml: extends itself, directly or through others",
    ]


def test_a_broken_base_hides_no_other_mistake_and_invents_none(tmp_path: Path) -> None:
    write(tmp_path, "model: [\n", "base.yaml")
    found = problems(
        write(tmp_path, "extends: base.yaml\nseed: x\n")
    )  # neither version nor model is said to be missing
    assert [line.split(": ")[0] for line in found] == ["recipe.yaml:2:7", "base.yaml:2:1"]


def test_the_same_base_twice_and_a_long_chain(tmp_path: Path) -> None:
    for depth in range(12):
        after = depth + 1
        text = f"extends: [r{after}.yaml, r{after}.yaml]\n" if depth < 11 else MINIMAL
        write(tmp_path, text, f"r{depth}.yaml")
    assert load_recipe(tmp_path / "r0.yaml").model.architecture == "demo"  # 2**11 readings would be felt
    for depth in range(30):
        write(tmp_path, f"extends: s{depth + 1}.yaml\n", f"s{depth}.yaml")
    assert any("more than 16 recipes" in line for line in problems(tmp_path / "s0.yaml"))


def test_a_base_of_a_later_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\n", "base.yaml")
    found = problems(write(tmp_path, MINIMAL + "extends: base.yaml\n"))
    assert len(found) == 1
    assert found[0].startswith("base.yaml:1:10: version: version 2 is of a later qrecipe")


def test_overrides_win_in_order(tmp_path: Path) -> None:
    changes = [
        "train.stages[0].epochs=9",
        "seed=1",
        "seed=2",
        "train.optimizer={lr: 1e-3}",
        "quantize.weight=null",
        "model.input.mask=false",
        "data.test=",
        "model.config.queries=300",
        "teacher=",
        "data.format=synthetic",
    ]
    recipe = load_recipe(write(tmp_path, FULL), changes)
    assert recipe.train.stages[0] == StageSpec("backbone", 9, ("backbone",))
    assert recipe.seed == 2
    assert recipe.train.optimizer.lr == 1e-3
    assert recipe.train.optimizer.weight_decay == 1e-4  # the whole mapping was replaced
    assert recipe.quantize.weight is None
    assert recipe.model.input.mask is False
    assert recipe.data.test is None
    assert recipe.model.config["queries"] == 300
    assert recipe.teacher is None
    assert recipe.data.format == "synthetic"  # though the recipe has splits: this way a run is tried without its data
    assert recipe.marks[("train", "stages", 0, "epochs")] == Mark("--set train.stages[0].epochs=9", 1, 24)
    assert recipe.marks[("train", "optimizer", "lr")] == Mark("--set train.optimizer={lr: 1e-3}", 1, 22)
    assert ("train", "optimizer", "betas") not in recipe.marks


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("seed", "--set seed:1:1: an override without ="),
        ("=3", '--set =3:1:1: "" is not a key path'),
        ("a..b=3", '--set a..b=3:1:1: "a..b" is not a key path'),
        ("[0]=3", '--set [0]=3:1:1: "[0]" is not a key path'),
        ("seed=[", "--set seed=[:1:7: not valid YAML"),
        ("seed=x", '--set seed=x:1:6: seed: expected a whole number from 0 to 4294967295, found "x"'),
        ("sede=1", '--set sede=1:1:1: sede: unknown key (did you mean "seed"?)'),
        ("train.lrr=1", "--set train.lrr=1:1:7: train.lrr: unknown key"),
        ("seed.x=1", "--set seed.x=1:1:6: seed.x: seed is 7, not a mapping"),
        ("seed[0]=1", "--set seed[0]=1:1:6: seed[0]: seed is 7, not a list"),
        ("train.stages[2]=1", "--set train.stages[2]=1:1:14: train.stages[2]: train.stages has 2 items"),
        ("train.stages.x=1", "--set train.stages.x=1:1:14: train.stages.x: train.stages is a list, not a mapping"),
        ("extends=a.yaml", "--set extends=a.yaml:1:1: extends: extends cannot be set"),
        ("train.epochs=3", "--set train.epochs=3:1:14: train.epochs: epochs and stages exclude each other"),
        ("version=2", "--set version=2:1:9: version: must be 1; found 2"),
    ],
)
def test_mistakes_in_overrides(change: str, answer: str, tmp_path: Path) -> None:
    found = problems(write(tmp_path, FULL), change)
    assert found
    assert found[0].startswith(answer)


def test_paths_start_from_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = "data: {format: coco, train: {images: i, annotations: ../a.json}, val: {images: /v, annotations: b}}\n"
    write(tmp_path, base, "base/coco.yaml")
    path = write(tmp_path, "version: 1\nextends: ../base/coco.yaml\nmodel: {factory: ../m.py:f}\n", "here/recipe.yaml")
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "cwd").mkdir()
    relative = load_recipe("recipe.yaml")
    monkeypatch.chdir(tmp_path / "cwd")
    recipe = load_recipe(path, ["output=runs", "data.val.annotations=c.json"])
    assert recipe.data.train is not None
    assert recipe.data.val is not None
    assert recipe.data.train.images == tmp_path / "base/i"
    assert recipe.data.train.annotations == tmp_path / "a.json"
    assert recipe.data.val.images == Path("/v")
    assert recipe.data.val.annotations == tmp_path / "cwd/c.json"
    assert recipe.output == tmp_path / "cwd/runs"
    assert recipe.model.factory == f"{tmp_path}/m.py:f"
    assert relative.data.train == recipe.data.train
    assert relative.marks[("version",)].file == "recipe.yaml"
    assert relative.marks[("data",)].file == "../base/coco.yaml"


def test_a_factory_in_a_package_is_left_alone() -> None:
    recipe = recipe_from_mapping({"version": 1, "model": {"factory": "package.module:build"}}, base_folder="/x")
    assert recipe.model.factory == "package.module:build"


def test_variables_are_expanded_in_data_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QR_ROOT", "/data")
    monkeypatch.setenv("QR_ODD", "a$QR_ROOT")
    monkeypatch.setenv("QR_EMPTY", "")
    split = "{images: $QR_ROOT/x, annotations: '${QR_ODD}/$$5'}"
    text = f"version: 1\nmodel: {{factory: $QR_ROOT/m.py:f}}\ndata: {{format: coco, train: {split}, val: {split}}}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert recipe.data.train is not None
    assert recipe.data.train.images == Path("/data/x")
    assert recipe.data.train.annotations == tmp_path / "a$QR_ROOT/$5"  # once, and not again
    assert recipe.model.factory == f"{tmp_path}/$QR_ROOT/m.py:f"
    monkeypatch.delenv("QR_ROOT")
    assert recipe_from_mapping(recipe.resolved) == recipe
    found = problems(write(tmp_path, text.replace("QR_ODD", "QR_EMPTY")))
    assert len(found) == 4
    assert "QR_ROOT is not set" in found[0]
    assert "QR_EMPTY is empty" in found[1]


def test_null_takes_back_what_has_no_null_of_its_own(tmp_path: Path) -> None:
    """As if nobody had written the key; twice over, and by ``--set``."""
    base = "train: {epochs: 4, clip_norm: 2, optimizer: {lr: 1}}\nmodel: {architecture: a, config: {x: 1}}\nseed: 3\n"
    write(tmp_path, base, "base.yaml")
    middle = write(
        tmp_path, "version: 1\nextends: base.yaml\ntrain: {epochs: null}\nmodel: {config: null}\n", "middle.yaml"
    )
    train = "{optimizer: null, stages: [{name: s, epochs: 1}], clip_norm: null}"
    path = write(tmp_path, f"version: 1\nextends: middle.yaml\ntrain: {train}\nseed: ~\n")
    recipe = load_recipe(path)
    assert (recipe.model.config, recipe.seed, recipe.train.optimizer.lr) == ({}, 0, 1e-4)
    assert recipe.train.stages == (StageSpec("s", 1),)
    assert recipe.train.clip_norm is None  # a value of its own: no clipping
    assert ("train", "optimizer") not in recipe.marks
    assert recipe_from_mapping(recipe.resolved) == recipe
    assert load_recipe(middle, ["seed=null", "train.clip_norm=null"]).seed == 0
    assert load_recipe(middle, ["model.config.y=null"]).model.config == {"y": None}
    assert load_recipe(middle).train.clip_norm == 2


def test_null_over_nothing_is_a_mistake_unless_a_base_is_broken(tmp_path: Path) -> None:
    write(tmp_path, "seed: 1\n", "base.yaml")
    text = "version: 1\nextends: base.yaml\ntrain: {epochs: null}\nseed:\n"
    assert [line.split(":")[3].strip() for line in problems(write(tmp_path, text))] == ["model", "train.epochs"]
    write(tmp_path, "seed: [\n", "base.yaml")
    assert [line.split(":")[0] for line in problems(write(tmp_path, text))] == ["base.yaml"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "ho$me"
    monkeypatch.setenv("HOME", str(home))
    write(home, "seed: 5\n", "base.yaml")
    text = (
        "version: 1\nextends: ~/base.yaml\noutput: ~/runs\nmodel: {factory: ~/m.py:f, weights: {file: ~/w}}\n"
        "data: {format: coco, train: {images: ~/a, annotations: ./~b}, val: {images: ~, annotations: $HOME/c}}\n"
    )
    found = problems(write(tmp_path, text))
    assert [line.split(": ")[1] for line in found] == ["data.val.images"]  # a ~ alone is YAML's null
    recipe = load_recipe(write(tmp_path, text.replace("images: ~,", "images: '~',")))
    assert (recipe.seed, recipe.output, recipe.model.factory) == (5, home / "runs", f"{home}/m.py:f")
    assert recipe.model.weights is not None
    assert recipe.model.weights.file == home / "w"
    assert recipe.data.train is not None
    assert recipe.data.val is not None
    assert (recipe.data.train.images, recipe.data.train.annotations) == (home / "a", tmp_path / "~b")
    assert (recipe.data.val.images, recipe.data.val.annotations) == (home, home / "c")
    assert recipe_from_mapping(recipe.resolved) == recipe


def test_null_takes_back_from_its_own_bases_alone(tmp_path: Path) -> None:
    """Two recipes that extend one file are what each of them is alone, whichever is read first."""
    write(tmp_path, MINIMAL + "train: {epochs: 4, optimizer: {weight_decay: 0.5}}\n", "base.yaml")
    write(tmp_path, "extends: base.yaml\ntrain: {epochs: null, optimizer: {weight_decay: null}}\n", "a.yaml")
    write(tmp_path, "extends: base.yaml\nseed: 1\n", "b.yaml")
    for order in ("a.yaml, b.yaml", "b.yaml, a.yaml"):
        recipe = load_recipe(write(tmp_path, f"version: 1\nextends: [{order}]\n"))
        assert (recipe.train.epochs, recipe.train.optimizer.weight_decay, recipe.seed) == (4, 0.5, 1)
