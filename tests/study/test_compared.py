"""``qrecipe compare``: groups, their baselines, other data, pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qrecipe
from qrecipe.errors import RunError
from qrecipe.report.compare import by_value, compared_tables
from qrecipe.report.page.compared import cost_chart, difference_chart, render_compared
from qrecipe.run.summary import Summary, SummaryRow
from qrecipe.study.compared import ABSENT, tables_of
from qrecipe.study.finished import FinishedRun, read_runs
from tests import tiny_commands as tiny
from tests.study.tiny_sweeps import Carried


def run(name: str, AP: float | None, seed: int = 0, bits: int = 4, **more: Any) -> FinishedRun:
    """A run that is nowhere."""
    quantize = {"weight": {"bits": bits}, "name": name.partition(", ")[0]}
    data = {"format": "synthetic", "synthetic": {"test": 8, "size": 64, "seed": more.pop("data", 0)}}
    row = SummaryRow("trained", {"AP": AP, "AP50": AP}, {}, 1e6 * bits, 1e9 * bits)
    recipe = {"name": name, "seed": seed, "quantize": quantize, "data": data, **more}
    return FinishedRun(Path(f"{name} {seed}"), recipe, Summary(name, "test", (row,)), row)


def test_runs_that_differ_by_seed_are_a_group() -> None:
    runs = [run("a", 0.5, 0), run("b", 0.6, 0, 2), run("a", 0.7, 1), run("b", 0.7, 1, 2), run("b", 0.9, 5, 2)]
    (table,) = tables_of(runs)
    one, two = table.groups
    assert (one.name, [own.seed for own in one.runs], one.beside, one.difference) == ("a", [0, 1], None, None)
    score = one.score()
    assert score is not None
    assert (score.mean, score.deviation) == (pytest.approx(0.6), pytest.approx(0.2 / 2**0.5))
    assert (two.beside, two.why) == ("a", "2 seeds in common")
    assert two.difference is not None
    assert (two.difference.mean, two.difference.count) == (pytest.approx(0.05), 2)
    assert table.keys == {"quantize.weight.bits": {"a": 4, "b": 2}, "quantize.name": {"a": "a", "b": "b"}}


def test_keys_that_only_one_has() -> None:
    runs = [run("a", 0.5), run("a", 0.5, distill={"align": [1]}), run("a", 0.4, distill={"align": []})]
    (table,) = tables_of([replace(one, folder=Path(f"{number}/run")) for number, one in enumerate(runs)])
    assert [group.name for group in table.groups] == ["a (0/run)", "a (1/run)", "a (2/run)"]
    (table,) = tables_of([replace(one, folder=Path(f"run{number}")) for number, one in enumerate(runs)])
    assert [group.name for group in table.groups] == ["a (run0)", "a (run1)", "a (run2)"]
    assert table.keys == {"distill.align": {"a (run0)": ABSENT, "a (run1)": [1], "a (run2)": []}}
    assert by_value(table.keys["distill.align"]) == {"absent": ["a (run0)"], "[1]": ["a (run1)"], "[]": ["a (run2)"]}


def test_values_that_begin_alike_are_told_apart() -> None:
    same = ["x" * 200]
    found = by_value({"one": [*same, 1], "two": [*same, 2], "three": [*same, 1]})
    assert list(found.values()) == [["one", "three"], ["two"]]


def test_baselines() -> None:
    names = ["lsq+, 4", "both, 4", "lsq+, 2", "both, 2", "real"]
    runs = [run(name, 0.5, seed, index + 2) for index, name in enumerate(names) for seed in (0, 1)]

    def beside(baseline: str | None) -> list[str | None]:
        (table,) = tables_of(runs, baseline)
        return [group.beside for group in table.groups]

    assert beside(None) == [None, *["lsq+, 4"] * 4]
    assert beside("real") == [*["real"] * 4, None]
    assert beside("lsq+") == [None, "lsq+, 4", None, "lsq+, 2", None]
    assert beside("4") == [None, None, "lsq+, 4", "both, 4", None]
    with pytest.raises(RunError, match="no group is called bth"):
        beside("bth")


def test_other_data_is_another_table() -> None:
    tables = tables_of([run("a", 0.5), run("b", 0.6, data=1), run("b", 0.7, 1, data=1)])
    assert [[group.name for group in table.groups] for table in tables] == [["a"], ["b"]]
    assert [group.beside for table in tables for group in table.groups] == [None, None]
    assert "seed: 1" in tables[1].data


PARTED = (("a", (0, 1, 2), 4), ("b", (0, 3, 4), 2))


def test_differences_that_cannot_be_said() -> None:
    (table,) = tables_of([run("a", 0.5), run("b", 0.6, 1, 2), run("b", 0.6, 2, 2), run("c", None, 0, 3)])
    assert [group.why for group in table.groups] == [None, "no seed in common", "there is nothing to find"]
    (table,) = tables_of([run("a", 0.5), run("b", 0.75, 0, 2)])
    assert table.groups[1].difference is not None
    assert (table.groups[1].difference.mean, table.groups[1].difference.low) == (0.25, None)
    assert "there are no matches of single images" in str(table.groups[1].why)
    one, two = ([run(name, 0.5 + seed / 10, seed, bits) for seed in seeds] for name, seeds, bits in PARTED)
    (table,) = tables_of([*one, *two])
    assert table.groups[1].difference is not None
    assert (table.groups[1].difference.mean, table.groups[1].difference.count) == (0, 1)
    assert str(table.groups[1].why).startswith("1 seed in common; no interval: ")


@pytest.fixture
def pair(carried: Carried, tmp_path: Path) -> list[Path]:
    """Two single runs that say they are of other recipes."""
    runs = []
    for name, seed in (("a", 0), ("b", 1)):
        folder = tmp_path / name
        shutil.copytree(carried.folder / f"plain_seed{seed}", folder)
        runs.append(folder)
    return runs


def test_the_folder_of_a_sweep(carried: Carried, tmp_path: Path) -> None:
    found = qrecipe.compare([carried.folder])
    (group,) = found.tables[0].groups
    assert [own.folder.name for own in group.runs] == ["plain_seed0", "plain_seed1"]
    answer = tiny.qrecipe("compare", carried.folder, "--html", tmp_path / "page.html")
    assert "nothing to compare with" in answer.fine
    assert f"page: {tmp_path / 'page.html'}" in answer.fine
    assert "is not overwritten" in tiny.qrecipe("compare", carried.folder, "--html", tmp_path / "page.html").error
    data = json.loads(tiny.qrecipe("compare", carried.folder, "--json").fine)
    assert data == json.loads(json.dumps(found.to_dict()))
    runs, notes = read_runs([carried.folder, carried.folder / "plain_seed0"])
    assert (len(runs), notes) == (2, [])


def test_what_is_left_out_is_said(carried: Carried, pair: list[Path], tmp_path: Path) -> None:
    _, notes = read_runs([carried.folder, pair[0]])
    assert notes == [f"{pair[0]}: the same recipe and seed as {carried.folder / 'plain_seed0'}, and left out"]
    (pair[1] / "summary.json").unlink()
    found = qrecipe.compare([tmp_path])
    assert found.notes == (f"{tmp_path}: 1 run is not finished, and left out",)
    assert "not finished" in tiny.qrecipe("compare", pair[1]).error


def test_one_pair_has_an_interval_over_images(pair: list[Path]) -> None:
    """Of two runs with other seeds, as there is no other."""
    one, two = read_runs(pair)[0]
    other = replace(two, recipe={**two.recipe, "distill": {}})
    (table,) = tables_of([one, other])
    found = table.groups[1].difference
    assert found is not None
    assert (found.over, found.count) == ("images", 8)
    assert found.mean == pytest.approx((two.AP or 0) - (one.AP or 0))


def test_rows_other_than_the_last(carried: Carried) -> None:
    found = qrecipe.compare([carried.folder], model="calibrated")
    assert {own.row.model for own in found.tables[0].groups[0].runs} == {"calibrated"}
    assert (
        "no control model (it has teacher, calibrated, trained)"
        in tiny.qrecipe("compare", carried.folder, "--model", "control").error
    )
    error = tiny.qrecipe("compare", carried.folder, "--model", "calibrate").error
    assert 'calibrate is no row of a summary (did you mean "calibrated"?' in error
    assert "between 0 and 1" in tiny.qrecipe("compare", carried.folder, "--confidence", "1").error


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    assert "holds none" in tiny.qrecipe("compare", tmp_path).error
    assert "there is no such folder" in tiny.qrecipe("compare", tmp_path / "nowhere").error


def test_the_page_escapes_and_draws(tmp_path: Path) -> None:
    runs = [run(name, 0.5 + 0.1 * seed, seed, bits) for name, bits in (("a", 4), ("<b>&", 2)) for seed in (0, 1)]
    (table,) = tables_of(runs)
    page = render_compared([table], ["a <note>"])
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "a &lt;note&gt;" in page
    assert page.count("<svg") == 3  # differences, operations, size
    assert difference_chart(table.groups[:1]) == ""
    assert cost_chart("AP", table.groups[:1], [1e9]) == ""
    assert len(list(compared_tables([table]))) == 3
