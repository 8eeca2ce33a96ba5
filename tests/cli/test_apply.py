"""``qrecipe apply``, from the recipe to the last table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from qrecipe.run.checkpoint import has_checkpoint
from qrecipe.run.summary import Summary
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its time of change and size."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_a_run_leaves_everything(finished: Finished) -> None:
    folder = finished.folder
    assert list(finished.phases) == ["teacher", "calibration", "calibrated", "student", "control", "test", "evidence"]
    assert [row["model"] for row in finished.summary["rows"]] == ["teacher", "control", "calibrated", "trained"]
    assert finished.summary["split"] == "test"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["epoch"]) for line in lines] == [
        ("student", 1), ("student", 2), ("control", 1), ("control", 2),
    ]  # fmt: skip
    assert all(line["val"] for line in lines)
    assert {"detection", "class", "l1", "giou", "distill"} <= set(lines[0]["parts"])
    assert all(has_checkpoint(folder / name) for name in ("calibrated", "student", "control"))
    plan = json.loads((folder / "plan.json").read_text())
    assert any(site["quantizer"] for site in plan["sites"])
    with Image.open(folder / "detections.png") as picture:
        assert min(picture.size) > 300
    assert len(json.loads((folder / "environment.json").read_text())) == 1


def test_sizes_and_operations(finished: Finished) -> None:
    rows = {row["model"]: row for row in finished.summary["rows"]}
    assert rows["teacher"]["bytes"] == rows["control"]["bytes"] > 6 * rows["trained"]["bytes"]
    assert rows["trained"]["bytes"] == rows["calibrated"]["bytes"]
    assert rows["teacher"]["operations"] == rows["control"]["operations"] > 6 * rows["trained"]["operations"]


def test_what_a_run_prints(finished: Finished) -> None:
    out = finished.out
    for text in (
        "data: train has 16 images",
        "quantized by",
        "plan: queries aligned in 1 of the decoder's layers",
        "val: teacher: AP",
        "calibration: ",
        "student: training for 2 epochs of 2 steps",
        "control: training for 2 epochs of 2 steps",
        "test: student, trained: AP",
        f"run: {finished.folder}",
    ):
        assert text in out
    table = out[out.index("tiny: test split") :].splitlines()
    assert [line.split("  ")[0] for line in table[3:7]] == [
        "teacher", "control", "student, calibrated", "student, trained",
    ]  # fmt: skip
    assert all(len(line.rstrip()) <= 80 for line in table if not line.startswith(("run:", "note:")))


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_a_finished_run_is_shown_again(finished: Finished, more: tuple[str, ...]) -> None:
    before = tree(finished.folder)
    out = tiny.qrecipe("apply", finished.recipe, "--output", finished.folder, *more).fine
    assert tree(finished.folder) == before
    assert "finished already" in out
    table = finished.out[finished.out.index("tiny: test split") :]
    assert out.endswith(table)


def test_a_finished_run_of_another_recipe(finished: Finished) -> None:
    words = ("apply", finished.recipe, "--output", finished.folder, "--set", "train.optimizer.lr=2e-3")
    error = tiny.qrecipe(*words).error
    assert "train.optimizer.lr: 0.001 in the run, 0.002 now" in error
    assert "--output" in error


def test_a_detector_that_is_trained_as_it_is(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "teacher.yaml", quantize=None, distill=None, train={"epochs": 1, "batch_size": 16})
    out = tiny.qrecipe("apply", recipe, "--output", tmp_path / "run").fine
    assert "nothing is quantized" in out
    assert "val: before training: AP" in out
    assert "test: after training: AP" in out
    table = out[out.index("teacher: test split") :].splitlines()
    assert [line.split("  ")[0] for line in table[3:5]] == ["before training", "after training"]
    assert "of teacher" not in out
    assert "of control" not in out
    assert not (tmp_path / "run" / "control").exists()
    assert not (tmp_path / "run" / "calibrated").exists()
    assert "AP" in tiny.qrecipe("evaluate", tmp_path / "run", "--split", "test").fine


def test_calibration_alone(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "ptq.yaml", train={"epochs": 0}, distill=None)
    tiny.qrecipe("apply", recipe, "--output", tmp_path / "run").fine  # noqa: B018 - the property checks
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["teacher", "calibrated"]
    numbers = [
        json.loads(tiny.qrecipe("evaluate", tmp_path / "run", "--split", "test", "--model", name, "--json").out)
        for name in ("trained", "calibrated")
    ]
    assert numbers[0] == numbers[1]
    assert numbers[0]["AP"] == rows[1]["scores"]["AP"]


def test_in_silence(tmp_path: Path) -> None:
    """Nothing is told on the way but notes and warnings; what was asked for is, as a table or as data."""
    aligned = {"align": [{"at": "decoder.cross_attention.query", "per": "head"}], "targets": []}
    recipe = tiny.recipe(tmp_path / "tiny.yaml", distill=aligned, train={"epochs": 0})
    words = ("apply", recipe, "--output", tmp_path / "run", "--quiet")
    answer = tiny.qrecipe(*words)
    assert answer.code == 0
    assert answer.out.splitlines()[1].startswith("tiny: test split")
    assert "calibration:" not in answer.out
    (warning,) = (line for line in answer.err.splitlines() if "warning: " in line)
    assert not any(
        line.startswith(("capture:", "plan:", "calibration:", "val:", "test:")) for line in answer.err.splitlines()
    )
    assert "where a head has 8 channels" in warning
    again = tiny.qrecipe(*words, "--json")
    kept = json.loads((tmp_path / "run" / "summary.json").read_text())
    summary = Summary.from_dict({key: value for key, value in kept.items() if key != "seal"})
    assert json.loads(again.out) == {
        "folder": str(tmp_path / "run"),
        "summary": json.loads(json.dumps(summary.to_dict())),
    }
    told = tiny.qrecipe(*words[:-1], "--json")
    assert told.out == again.out
    assert told.err == "this run is finished already, and is not repeated\n"


def test_where_a_run_goes(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--output, else the recipe's output, else runs/NAME; relative to the current folder or the recipe's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somewhere else").mkdir()
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    (tmp_path / "taken").mkdir()
    for folder in ("runs/tiny", "taken", "somewhere else"):
        (tmp_path / folder / "file").write_text("mine")
    assert str(tmp_path / "runs" / "tiny") in tiny.qrecipe("apply", finished.recipe).error
    assert str(tmp_path / "taken") in tiny.qrecipe("apply", finished.recipe, "--set", "output=taken").error
    words = ("apply", finished.recipe, "--set", "output=taken", "--output", "somewhere else")
    assert str(tmp_path / "somewhere else") in tiny.qrecipe(*words).error


def test_folders_that_cannot_be_used(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_text("mine")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "recipe.json").write_bytes((finished.folder / "recipe.json").read_bytes())
    for name, what in (
        ("file", "cannot be written"),
        ("file/below", "cannot be written"),
        ("full", "nothing in it is overwritten"),
        ("unfinished", "continue it with --resume"),
    ):
        error = tiny.qrecipe("apply", finished.recipe, "--output", tmp_path / name).error
        assert what in error, error
        assert str(tmp_path / name) in error
    error = tiny.qrecipe("apply", finished.recipe, "--output", tmp_path / "new", "--resume").error
    assert "no run to resume" in error
    assert not (tmp_path / "new").exists()


def test_a_file_system_that_refuses(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    error = tiny.qrecipe("apply", finished.recipe, "--output", tmp_path / "run").error
    assert error == f"{tmp_path / 'run'}: cannot be written: Permission denied"


def test_random_weights_are_part_of_the_run(finished: Finished, tmp_path: Path) -> None:
    """A run without the recipe's weights is not one with them."""
    recipe = tmp_path / "filled.yaml"
    recipe.write_text(
        finished.recipe.read_text().replace(
            "architecture: demo", "architecture: demo\n  weights: {file: w.safetensors}"
        )
    )
    words = ("apply", recipe, "--output", finished.folder, "--set", "name=tiny")
    assert "finished already" in tiny.qrecipe(*words, "--random-weights").fine
    assert "model.weights: absent in the run" in tiny.qrecipe(*words).error


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    changes = {"epochs": 3, "batch_size": 8, "optimizer": {"lr": 1.0e18}, "clip_norm": None}
    schedule = {"name": "step", "drop_at": [1], "factor": 1.0}
    recipe = tiny.recipe(tmp_path / "wild.yaml", quantize=None, distill=None, train={**changes, "schedule": schedule})
    error = tiny.qrecipe("apply", recipe, "--output", tmp_path / "run").error
    assert "not finite" in error
    assert "epoch 1, step 2, images " in error
    assert "no step was taken" in error
