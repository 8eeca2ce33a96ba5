"""``qrecipe evaluate``: runs, students, checkpoints and recipes, on any split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qrecipe.data.synthetic import synthetic_splits
from qrecipe.evaluation import Evaluation, evaluate_results
from qrecipe.recipe import load_recipe
from tests import tiny_commands as tiny
from tests.evaluation.truths import read_truth
from tests.tiny_commands import Finished


def numbers(*words: object) -> dict[str, Any]:
    """What ``--json`` gives; messages go to standard error then."""
    answer = tiny.qrecipe("evaluate", *words, "--json")
    assert answer.code == 0, answer
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.mark.parametrize(
    ("model", "row"), [(None, "trained"), ("trained", "trained"), ("control", "control"), ("calibrated", "calibrated")]
)
def test_a_run(finished: Finished, model: str | None, row: str) -> None:
    """The very numbers of the run's summary, from its test split."""
    (expected,) = [entry for entry in finished.summary["rows"] if entry["model"] == row]
    more = ("--model", model) if model else ()
    found = numbers(finished.folder, "--split", "test", *more)
    assert found["per_class"] == expected["per_class"]
    assert {key: value for key, value in found.items() if key != "per_class"} == expected["scores"]


def test_a_run_on_val(finished: Finished) -> None:
    """By default val, on which the best epoch was chosen."""
    assert numbers(finished.folder)["AP"] == finished.phases["student"]["best_ap"]
    assert numbers(finished.folder, "--model", "calibrated") == finished.phases["calibrated"]


def test_folders_within_a_run(finished: Finished) -> None:
    expected = numbers(finished.folder)
    assert numbers(finished.folder / "student") == expected
    assert numbers(finished.folder / "checkpoints" / "student" / "best") == expected
    assert numbers(finished.folder / "control") == numbers(finished.folder, "--model", "control")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_real_valued_model(finished: Finished, split: str) -> None:
    """From the recipe or the run, as it is built or as a student with quantizers off: all the same model."""
    found = [
        numbers(target, "--model", model, "--split", split)
        for target in (finished.recipe, finished.folder, finished.folder / "student")
        for model in ("real", "off")
    ]
    assert numbers(finished.recipe, "--split", split) == found[0]
    assert all(one["AP"] == pytest.approx(found[0]["AP"], abs=1e-4) for one in found)
    if split == "val":
        assert found[0]["AP"] == pytest.approx(finished.phases["teacher"]["AP"], abs=1e-4)


def test_what_is_printed(finished: Finished) -> None:
    out = tiny.qrecipe("evaluate", finished.folder, "--split", "test").fine
    assert "data: test has 8 images" in out
    assert "tiny, trained: test split" in out
    for name in ("AP50", "AR100", "triangle"):
        assert f"\n{name} " in out


def test_detections(finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "found in val.json"
    tiny.qrecipe("evaluate", finished.folder, "--detections", file).fine  # noqa: B018 - the property checks
    results = json.loads(file.read_text())
    assert len(results) == 8 * 15  # every pair of 5 queries and 3 classes
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}
    val = synthetic_splits(load_recipe(finished.recipe).data.synthetic)["val"]
    assert evaluate_results(read_truth(val.annotations), results) == Evaluation(**numbers(finished.folder))
    assert "not overwritten" in tiny.qrecipe("evaluate", finished.folder, "--detections", file).error
    gone = tmp_path / "gone" / "file.json"
    assert "no such folder" in tiny.qrecipe("evaluate", finished.folder, "--detections", gone).error


def coco(tmp_path: Path, finished: Finished) -> Path:
    """The tiny recipe on the same images as COCO files, without a test split."""
    splits = synthetic_splits(load_recipe(finished.recipe).data.synthetic)
    data = {
        name: {"images": str(splits[name].images), "annotations": str(splits[name].annotations)}
        for name in ("train", "val")
    }
    return tiny.recipe(tmp_path / "coco.yaml", data={"format": "coco", **data})


def test_a_split_that_is_not_there(finished: Finished, tmp_path: Path) -> None:
    recipe = coco(tmp_path, finished)
    assert numbers(recipe) == numbers(finished.recipe)
    error = tiny.qrecipe("evaluate", recipe, "--split", "test").error
    assert "no test split" in error
    assert "it has train, val" in error


def test_a_run_without_a_test_split(finished: Finished, tmp_path: Path) -> None:
    out = tiny.qrecipe("apply", coco(tmp_path, finished), "--output", tmp_path / "run", "--set", "train.epochs=0").fine
    assert "coco: val split" in out
    assert "note: the recipe names no test split" in out
    assert "no test split" in tiny.qrecipe("evaluate", tmp_path / "run", "--split", "test").error
    error = tiny.qrecipe("apply", coco(tmp_path, finished), "--output", tmp_path / "b", "--set", "data.val=null").error
    assert "data.val" in error


def test_other_data_for_a_run(finished: Finished) -> None:
    """Of what was trained only the data can be changed."""
    found = numbers(finished.folder, "--set", "data.synthetic.val=4")
    assert found != numbers(finished.folder)
    assert numbers(finished.folder / "student", "--set", "data.synthetic.val=4") == found
    error = tiny.qrecipe("evaluate", finished.folder, "--set", "train.epochs=3").error
    assert "train.epochs=3" in error
    assert "data.synthetic.vall" in tiny.qrecipe("evaluate", finished.folder, "--set", "data.synthetic.vall=4").error


def test_targets_that_are_none(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.yaml").write_text("hello")
    assert "no such file" in tiny.qrecipe("evaluate", tmp_path / "gone").error
    assert "neither a run nor a student" in tiny.qrecipe("evaluate", tmp_path / "empty").error
    assert "text.yaml:1:1" in tiny.qrecipe("evaluate", tmp_path / "text.yaml").error
    assert "use real or off" in tiny.qrecipe("evaluate", finished.recipe, "--model", "trained").error
    assert "name the run's folder" in tiny.qrecipe("evaluate", finished.folder / "student", "--model", "control").error
    assert "--random-weights" in tiny.qrecipe("evaluate", finished.folder, "--random-weights").error
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in (finished.folder / "student").iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[:-1])
    assert "damaged" in tiny.qrecipe("evaluate", damaged).error


def test_weights_that_are_not_there(finished: Finished, tmp_path: Path) -> None:
    model = {**yaml.safe_load(finished.recipe.read_text())["model"], "weights": {"file": "gone.safetensors"}}
    recipe = tiny.recipe(tmp_path / "filled.yaml", model=model)
    error = tiny.qrecipe("evaluate", recipe).error
    assert f"{recipe}:" in error
    assert "gone.safetensors" in error
    assert numbers(recipe, "--random-weights") == numbers(finished.recipe)
