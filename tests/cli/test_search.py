"""``qrecipe sensitivity`` and ``qrecipe search``, whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import qrecipe
from qrecipe.run.ledger import LINES
from tests import tiny_commands as tiny

ALIGNED_OFF = {"distill": None, "train": {"epochs": 0, "batch_size": 8}}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.recipe(tmp_path_factory.mktemp("recipe") / "tiny.yaml", **ALIGNED_OFF)


def test_sensitivity(recipe: Path, tmp_path: Path) -> None:
    words = ("sensitivity", recipe, "--output", tmp_path / "out", "--images", 4, "--ap")
    out = tiny.qrecipe(*words).fine
    assert out.count("measured ") == 14
    for text in ("8 bits, by role", "4 bits, by role", "backbone.body", "everything", "gives back: by how much"):
        assert text in out
    data = json.loads((tmp_path / "out" / "sensitivity.json").read_text())
    assert len(data["parts"]) == 14
    assert data["images"] == 8  # a batch is not cut
    assert data["whole"]["4"]["distance"] > data["whole"]["8"]["distance"] > 0
    texts = [one.text for one in ElementTree.parse(tmp_path / "out" / "sensitivity.svg").iter() if one.text]
    assert "backbone.body" in texts
    measured = (tmp_path / "out" / LINES).read_bytes()
    again = tiny.qrecipe(*words, "--json")
    assert (again.code, json.loads(again.out)) == (0, data)
    assert (tmp_path / "out" / LINES).read_bytes() == measured  # nothing was measured twice


def test_a_search_is_cut_off_and_goes_on(recipe: Path, tmp_path: Path) -> None:
    class StopError(Exception): ...

    seen: list[object] = []

    def listen(event: object) -> None:
        seen.append(event)
        if len([one for one in seen if type(one).__name__ == "PartMeasured"]) == 3:
            raise StopError

    settings = {"bits": (8, 3), "by": "role", "images": 8, "scored": False}
    with pytest.raises(StopError):
        qrecipe.search(recipe, "bit_operations=0.04", tmp_path / "cut", listener=listen, **settings)  # type: ignore[arg-type]
    kept = (tmp_path / "cut" / LINES).read_text()
    assert len(kept.splitlines()) >= 6
    cut = qrecipe.search(recipe, "bit_operations=0.04", tmp_path / "cut", **settings)  # type: ignore[arg-type]
    assert (tmp_path / "cut" / LINES).read_text().startswith(kept)
    whole = qrecipe.search(recipe, "bit_operations=0.04", tmp_path / "whole", **settings)  # type: ignore[arg-type]
    assert cut.to_dict() == whole.to_dict()
    assert whole.chosen.share <= 0.04


def test_search_writes_a_recipe_that_does_what_it_says(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    words = (
        "search",
        recipe,
        "--budget",
        "size=0.2",
        "--output",
        folder,
        "--images",
        8,
        "--bits",
        "8,3",
        "--by",
        "role",
    )
    out = tiny.qrecipe(*words).fine
    assert "within size=0.2" in out
    assert "rules that say it" in out
    assert re.search("the searched bits are (NOT )?nearer|no uniform width", out)
    data = json.loads((folder / "size_0.2.json").read_text())
    written = folder / "size_0.2.yaml"
    plan = qrecipe.plan(written)
    from qrecipe.planning import cost_of

    cost = cost_of(plan)
    assert cost.bytes / cost.float_bytes == pytest.approx(data["chosen"]["share"])
    assert data["chosen"]["share"] <= 0.2
    ElementTree.parse(folder / "size_0.2.svg")
    applied = qrecipe.apply(written, tmp_path / "run")
    assert json.loads((applied.folder / "phases.json").read_text())["calibrated"]["AP"] == data["chosen"]["AP"]
    written.write_text("mine")
    assert "is there already and says something else" in tiny.qrecipe(*words).error
    assert written.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--budget", "speed=2"), "there is no budget of 'speed'"),
        (("--budget", "size=0.001", "--no-ap"), r"is within size=0.001: the least is 0\.\d+"),
    ],
)
def test_what_cannot_be_searched(recipe: Path, tmp_path: Path, words: tuple[str, ...], what: str) -> None:
    answer = tiny.qrecipe("search", recipe, "--output", tmp_path / "out", "--images", 8, "--bits", "4", *words)
    assert re.search(what, answer.error)


def test_nothing_to_quantize(tmp_path: Path) -> None:
    real = tiny.recipe(tmp_path / "real.yaml", quantize=None, distill=None, train={"epochs": 0})
    for words in (("sensitivity", real), ("search", real, "--budget", "size=0.5")):
        assert "the recipe quantizes nothing" in tiny.qrecipe(*words).error


@pytest.mark.parametrize("bits", ["9", "1", "x", "float", "8;4"])
def test_widths_that_are_none(recipe: Path, bits: str) -> None:
    assert tiny.qrecipe("search", recipe, "--budget", "size=0.5", "--bits", bits).code == 2
