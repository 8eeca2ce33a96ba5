"""The commands as functions: data out, nothing printed, told to a listener."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import qrecipe
from qrecipe.experiment.events import BatchScored, Event, RunEnded, Scored
from qrecipe.run.seal import SEAL
from tests.tiny_commands import TINY, Finished

pytestmark = pytest.mark.usefixtures("surroundings")


@pytest.fixture(autouse=True)
def _silence(capfd: pytest.CaptureFixture[str]) -> object:
    yield
    assert capfd.readouterr() == ("", "")


def test_apply_of_a_finished_run(finished: Finished) -> None:
    events: list[Event] = []
    applied = qrecipe.apply(finished.recipe, finished.folder, listener=events.append)
    assert events == [RunEnded(finished.folder, applied.summary, already=True)]
    assert applied.to_dict()["folder"] == str(finished.folder)
    summary = {key: value for key, value in finished.summary.items() if key != SEAL}
    assert json.loads(json.dumps(applied.to_dict()))["summary"] == summary
    recipe = qrecipe.load_recipe(finished.recipe, ["seed=3"])
    with pytest.raises(qrecipe.QRecipeError, match="seed: absent in the run, 3 now"):
        qrecipe.apply(recipe, finished.folder)


def test_apply_with_a_recipe_object_and_its_own_output(finished: Finished, tmp_path: Path) -> None:
    recipe = qrecipe.recipe_from_mapping({**TINY, "output": str(finished.folder)}, "tiny")
    assert qrecipe.apply(recipe).folder == finished.folder
    (tmp_path / "taken").touch()
    with pytest.raises(qrecipe.QRecipeError, match="not empty"):
        qrecipe.apply(recipe, tmp_path, overrides=["train.epochs=0"])


def test_evaluate(finished: Finished) -> None:
    events: list[Event] = []
    found = qrecipe.evaluate(str(finished.folder), "test", model="calibrated", listener=events.append)
    (row,) = [row for row in finished.summary["rows"] if row["model"] == "calibrated"]
    assert row["scores"]["AP"] == found.evaluation.AP
    assert found.title == "tiny, calibrated"
    assert BatchScored("test", 1, 1) in events
    assert not any(isinstance(event, Scored) for event in events)
    assert json.loads(json.dumps(found.to_dict()))["evaluation"] == found.evaluation.to_dict()
    recipe = qrecipe.load_recipe(finished.recipe)
    assert qrecipe.evaluate(recipe, random_weights=True).title == "tiny, real, random weights"
    with pytest.raises(qrecipe.QRecipeError, match="a recipe has no control model"):
        qrecipe.evaluate(recipe, model="control")


def test_predict_writes_only_where_it_is_told(finished: Finished, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    before = sorted(tmp_path.rglob("*"))
    found = qrecipe.predict(finished.folder, [str(tmp_path / "red.png")])
    assert sorted(tmp_path.rglob("*")) == before
    assert [image["file_name"] for image in found.images] == [str(tmp_path / "red.png")]
    assert "picture" not in found.images[0]
    assert {one["image_id"] for one in found.annotations} == {1}
    again = qrecipe.predict(finished.folder, [tmp_path], tmp_path / "out", limit=1)
    assert again.annotations == found.annotations
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == again.to_dict()
    assert (tmp_path / "out" / again.images[0]["picture"]).exists()


def test_plan_bind_inspect_and_diff_agree(finished: Finished) -> None:
    plan = qrecipe.plan(finished.recipe)
    assert qrecipe.bind(finished.recipe).sites == plan.sites
    assert json.loads((finished.folder / "plan.json").read_text()) == json.loads(json.dumps(qrecipe.describe(plan)))
    inspection = qrecipe.inspect(finished.folder, image_size=(64, 64))
    assert inspection.to_dict()["classes"] == inspection.classes == 3
    recipe = qrecipe.load_recipe(finished.recipe, ["quantize.weight.bits=3"])
    found = qrecipe.diff(finished.recipe, recipe, keys_only=True)
    assert [(change.key, change.a, change.b) for change in found.keys] == [("quantize.weight.bits", 4, 3)]
    assert (found.a, found.b, found.sites) == (str(finished.recipe), "tiny", None)


def test_validate_raises_nothing(finished: Finished, tmp_path: Path) -> None:
    assert qrecipe.validate(finished.recipe).valid
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: 1\nmodel: {architecture: demo}\nseed: 4bit\n")
    found = qrecipe.validate(broken)
    assert not found.valid
    assert found.to_dict()["problems"][0]["line"] == 3
    recipe = qrecipe.load_recipe(finished.recipe)
    assert len(qrecipe.validate(recipe, overrides=["nothing=1", "train.epochs=many"]).problems) == 2
    rule = "quantize.rules=[{match: nowhere, keep: float}]"
    bound = qrecipe.validate(recipe, bind=True, overrides=[rule])
    assert [problem.where for problem in bound.problems] == [f"--set {rule}:1:25: quantize.rules[0].match"]
    assert qrecipe.validate(finished.recipe, bind=True).plan is not None


def test_init_as_data(finished: Finished) -> None:
    made = qrecipe.Started(Path("a.yaml"), None, "", qrecipe.plan(finished.recipe), (("qrecipe plan a.yaml", "look"),))
    text = '{"recipe": "a.yaml", "tuning": null, "fresh": "", "next": [["qrecipe plan a.yaml", "look"]]}'
    assert json.dumps(made.to_dict()) == text
