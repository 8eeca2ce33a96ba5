"""``qrecipe diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrecipe.planning.views.compare import key_changes
from qrecipe.recipe import recipe_from_mapping
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

EIGHT = {**tiny.TINY["quantize"], "weight": {"bits": 8, "quantizer": "lsq", "per": "channel"}}


def test_a_recipe_and_its_run_are_the_same(finished: Finished) -> None:
    out = tiny.qrecipe("diff", finished.recipe, finished.folder).fine
    assert "Keys: no difference" in out
    assert "Sites: no difference" in out
    assert "capture: one for both" in out


def test_keys_sites_and_totals(finished: Finished, tmp_path: Path) -> None:
    other = tiny.recipe(tmp_path / "eight.yaml", quantize=EIGHT, distill=None)
    out = tiny.qrecipe("diff", finished.recipe, other).fine
    assert "\n  quantize.weight.bits\n    A: 4  (" in out
    assert "\n  distill\n    A: {" in out
    assert "    B: -\n" in out
    assert "    4 bits lsq per channel -> 8 bits lsq per channel\n" in out
    assert "\naligned queries " in out
    data = json.loads(tiny.qrecipe("diff", finished.recipe, other, "--json").out)
    changes = {change["key"]: change for change in data["keys"]}
    assert set(changes) == {"quantize.weight.bits", "distill"}
    assert (changes["quantize.weight.bits"]["a"], changes["quantize.weight.bits"]["b"]) == (4, 8)
    assert changes["quantize.weight.bits"]["place_b"].startswith(f"{other}:")
    assert (changes["distill"]["in_a"], changes["distill"]["in_b"]) == (True, False)
    plans = [json.loads(tiny.qrecipe("plan", path, "--json").out) for path in (finished.recipe, other)]
    sites = [{site["name"]: site["spec"] for site in plan["sites"]} for plan in plans]
    assert sum(change["count"] for change in data["sites"]) == sum(
        sites[0][name] != sites[1][name] for name in sites[0]
    )
    totals = {total["name"]: (total["a"], total["b"]) for total in data["totals"]}
    for name in ("parameters", "bytes", "macs", "operations", "bit_operations"):
        assert totals[name] == (plans[0]["totals"][name], plans[1]["totals"][name])
    assert totals["aligned queries"] == (1, 0)


def test_other_models_are_compared_by_name(finished: Finished, tmp_path: Path) -> None:
    config = {**tiny.TINY["model"]["config"], "decoder_layers": 2}
    other = tiny.recipe(tmp_path / "two.yaml", model={**tiny.TINY["model"], "config": config})
    out = tiny.qrecipe("diff", finished.recipe, other).fine
    assert "both were built, and sites are compared by name" in out
    assert "    absent -> 4 bits lsq per channel\n" in out


def test_keys_alone_build_nothing(finished: Finished, tmp_path: Path) -> None:
    model = {"architecture": "detr", "weights": {"hub": "nobody/nothing"}}
    other = tiny.recipe(tmp_path / "other.yaml", model=model)
    out = tiny.qrecipe("diff", finished.recipe, other, "--keys").fine
    assert "model.weights" in out
    assert "capture" not in out
    data = json.loads(tiny.qrecipe("diff", finished.recipe, other, "--keys", "--json").fine)
    assert data["sites"] is data["totals"] is None


def test_errors_exit_with_2_and_differences_with_0(finished: Finished, tmp_path: Path) -> None:
    wrong = tiny.recipe(tmp_path / "wrong.yaml", quantize={**EIGHT, "bits": 4})
    assert "wrong.yaml:" in tiny.qrecipe("diff", finished.recipe, wrong).error
    assert "Exits with 0 whether they differ or not" in " ".join(tiny.qrecipe("diff", "--help").out.split())


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits(finished: Finished, tmp_path: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    other = tiny.recipe(tmp_path / "eight.yaml", quantize=EIGHT)
    out = tiny.qrecipe("diff", finished.recipe, other).fine
    lines = out[out.index("Sites:") :].splitlines()
    assert all(len(line.rstrip()) <= columns for line in lines)


def changes(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    recipes = (recipe_from_mapping({"version": 1, "model": {"architecture": "demo"}, **own}) for own in (a, b))
    return [(one.key, one.a, one.b) for one in key_changes(*recipes)]


def test_a_rule_that_is_put_in_moves_the_others() -> None:
    stem, head = {"match": "role:backbone.stem", "keep": "float"}, {"match": "role:head", "keep": "float"}
    eight = {"match": "role:encoder", "weight": {"bits": 8}}
    six = {"match": "role:encoder", "weight": {"bits": 6}}

    def rules(*items: Any) -> dict[str, Any]:
        weight = {"bits": 4, "quantizer": "lsq", "per": "channel"}
        return {"quantize": {"weight": weight, "rules": list(items)}}

    assert changes(rules(stem, head), rules(stem, head)) == []
    assert changes(rules(stem, head), rules(stem, eight, head)) == [("quantize.rules[1]", None, eight)]
    assert changes(rules(eight, stem), rules(stem)) == [("quantize.rules[0]", eight, None)]
    assert changes(rules(stem, eight), rules(stem, six)) == [("quantize.rules[1].weight.bits", 8, 6)]


def test_lists_of_values_differ_as_a_whole() -> None:
    sizes = ([480, 512], [480, 800])
    a, b = ({"data": {"format": "synthetic", "transforms": {"multiscale": size}}} for size in sizes)
    assert changes(a, b) == [("data.transforms.multiscale", *sizes)]
    assert changes({"seed": 1}, {}) == [("seed", 1, None)]
