"""``qrecipe inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrecipe.vocabulary import MAPS, TAPS
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished


def test_a_recipe_a_run_and_a_student(finished: Finished) -> None:
    texts = []
    for target in (finished.recipe, finished.folder, finished.folder / "student"):
        out = tiny.qrecipe("inspect", target).fine
        texts.append(out[out.index("\nBy role") :])
    assert texts[0] == texts[1] == texts[2]
    for text in ("decoder.cross_attention.output", "Cross-attention queries", "Graphs: train ", "in all"):
        assert text in texts[0]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", [(), ("--tree",)])
def test_it_fits(finished: Finished, words: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = tiny.qrecipe("inspect", finished.recipe, *words).fine
    lines = out[out.index("\ninput:") :].splitlines()
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert "…" not in out


def test_json_is_the_same_as_data(finished: Finished) -> None:
    answer = tiny.qrecipe("inspect", finished.recipe, "--json", "--image-size", "64x96")
    data = json.loads(answer.out)
    assert set(data) == {
        "name", "model", "family", "input", "classes", "scores", "notes", "image_size", "parameters", "macs", "roles",
        "taps", "queries", "nodes", "tree",
    }  # fmt: skip
    assert (data["model"], data["family"], data["classes"]) == ("DemoDetector", "demo", 3)
    assert data["image_size"] == [64, 96]
    assert data["queries"] == [{"layer": 0, "heads": 2, "head_dim": 8, "others": []}]
    assert sum(role["macs"] for role in data["roles"]) == data["macs"] == data["tree"]["macs"]
    assert tuple(tap["role"] for tap in data["taps"]) == (*TAPS, *MAPS)
    out = tiny.qrecipe("inspect", finished.recipe, "--tree").fine
    assert {child["name"] for child in data["tree"]["children"]} <= set(out.replace(".", " ").split())


def test_only_the_model_is_needed(tmp_path: Path) -> None:
    """Without quantization; without the weights that it names; and what its rules say is not read."""
    recipe = tiny.recipe(tmp_path / "bare.yaml", quantize=None, distill=None, train=None)
    assert "in all" in tiny.qrecipe("inspect", recipe).fine
    model = {**tiny.TINY["model"], "weights": {"file": "nowhere.safetensors"}}
    rules = {**tiny.TINY["quantize"], "rules": [{"match": "nothing.here", "keep": "float"}]}
    recipe = tiny.recipe(tmp_path / "gone.yaml", model=model, quantize=rules)
    assert "nowhere.safetensors" in tiny.qrecipe("inspect", recipe).error
    assert "in all" in tiny.qrecipe("inspect", recipe, "--random-weights").fine


def test_what_is_no_target(tmp_path: Path) -> None:
    assert "neither a run nor a student" in tiny.qrecipe("inspect", tmp_path).error
