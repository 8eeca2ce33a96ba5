"""The page of a run: what the folder says stands on it, as text, whatever the user's names are."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import qrecipe
from qrecipe.errors import RunError
from qrecipe.report.amounts import three_places
from qrecipe.report.page import render as rendering
from qrecipe.report.page.contents import contents_of
from qrecipe.report.page.render import render
from qrecipe.run.seal import SEAL, write_sealed
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished

NASTY = "</script><img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Names of elements and all that they load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        self.ids += [value for name, value in attrs if name == "id" and value]


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_apply_leaves_a_page_with_the_runs_figures(finished: Finished) -> None:
    text = (finished.folder / "report.html").read_text()
    assert f"report: {finished.folder / 'report.html'}" in finished.out
    for row in finished.summary["rows"]:
        assert f'<td class="number">{three_places(row["scores"]["AP"])}</td>' in text
    for name in finished.summary["rows"][0]["per_class"]:
        assert f'<div class="class-name">{name}</div>' in text
    assert "align:" in text  # the recipe
    assert text.count('class="line c2"') >= 2  # the student's AP and loss
    assert len(text.encode()) < 5e6


def test_nothing_comes_from_elsewhere_and_ids_are_unique(finished: Finished) -> None:
    found = Elements(render([contents_of(finished.folder)] * 2))
    assert all(one.startswith(("data:", "#")) for one in found.loaded), found.loaded
    assert len(found.ids) == len(set(found.ids))
    assert found.names.count("article") == 2


def test_names_of_the_user_are_text(copy: Path) -> None:
    summary = json.loads((copy / "summary.json").read_text())
    for row in summary["rows"]:
        row["per_class"] = {NASTY: 0.5}
    write_sealed(copy / "summary.json", {key: value for key, value in summary.items() if key != SEAL})
    (copy / "recipe.yaml").write_text(NASTY)
    text = render([contents_of(copy)])
    assert NASTY not in text
    assert text.count("&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") == 2
    assert Elements(text).names.count("script") == 1


def test_a_run_that_is_not_through_says_how_far_it_is(copy: Path) -> None:
    (copy / "summary.json").unlink()
    phases = {key: value for key, value in json.loads((copy / "phases.json").read_text()).items() if key != SEAL}
    write_sealed(copy / "phases.json", {name: phases[name] for name in ("teacher", "calibration", "calibrated")})
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text(lines[0])
    found = contents_of(copy)
    assert (found.finished, found.state, found.split) == (False, "not finished: student, epoch 1 of 2", "val")
    assert [row.name for row in found.rows] == ["teacher", "student, calibrated", "student, trained"]
    assert 'http-equiv="refresh"' in render([found])
    for name in ("phases.json", "metrics.jsonl", "plan.json"):
        (copy / name).unlink()
    assert contents_of(copy).state == "not finished: begun"
    render([contents_of(copy)])


def test_several_runs_make_one_page(copy: Path, finished: Finished, tmp_path: Path) -> None:
    made = qrecipe.write_report([copy, finished.folder], tmp_path / "both.html")
    assert Elements(made.path.read_text()).names.count("article") == 2
    assert made.size == made.path.stat().st_size
    with pytest.raises(RunError, match="is there already"):
        qrecipe.write_report([copy, finished.folder], tmp_path / "both.html")


@pytest.mark.usefixtures("surroundings")
def test_the_command(copy: Path, tmp_path: Path) -> None:
    (copy / "report.html").unlink()
    assert tiny.qrecipe("report", copy).fine.startswith(f"report: {copy / 'report.html'} (")
    assert tiny.qrecipe("report", copy).code == 0  # its own page is made again
    assert "recipe.json is missing" in tiny.qrecipe("report", tmp_path).error
    found = json.loads(tiny.qrecipe("report", copy, "--json").fine)
    assert found["path"] == str(copy / "report.html")


@pytest.mark.usefixtures("surroundings")
def test_without_jinja2_a_run_works_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "can_render", lambda: False)
    monkeypatch.setattr("qrecipe.commands.report.can_render", lambda: False)
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train={"epochs": 0})
    out = tiny.qrecipe("apply", recipe, "--output", tmp_path / "run").fine
    assert (
        out.count("report: not written: a page needs jinja2, which is not installed (pip install 'qrecipe[report]'")
        == 1
    )
    assert not (tmp_path / "run" / "report.html").exists()
    assert "pip install" in tiny.qrecipe("report", tmp_path / "run").error
