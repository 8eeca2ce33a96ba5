"""``qrecipe validate`` as a terminal shows it, as a pipe reads it, and as a machine does."""

from __future__ import annotations

import io
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from qrecipe.cli import main
from qrecipe.cli.excerpt import excerpt
from qrecipe.cli.problems import pictured
from qrecipe.errors import PlanError
from qrecipe.recipe import Mark, load_recipe
from qrecipe.recipe.problems import as_data, located
from tests.recipe.examples import MINIMAL, write

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A terminal of 100 columns, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "100"), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


def plain(text: str) -> str:
    """What a terminal shows of it."""
    shown = Console(file=io.StringIO(), width=1000, color_system=None)
    with shown.capture() as capture:
        shown.print(Text.from_ansi(text), end="")
    return capture.get()


def test_a_problem_in_a_terminal(terminal: Path, capsys: Captured) -> None:
    write(terminal, "train:\n  epochs: 4\n  batch_sise: 3\n", "base.yaml")
    write(terminal, MINIMAL + "extends: base.yaml\nname: 日本\nquantize: {rules: [{match: 日本, kep: float}]}\n")
    assert main(["validate", "recipe.yaml", "--set", "seed=x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b[1;31merror: \x1b[0m" in err
    assert plain(err) == (
        'error: recipe.yaml:5:32: quantize.rules[0].kep: unknown key (did you mean "keep"?)\n'
        "   5 | quantize: {rules: [{match: 日本, kep: float}]}\n"
        "     |                                  ^\n"
        'error: base.yaml:3:3: train.batch_sise: unknown key (did you mean "batch_size"?)\n'
        "   3 |   batch_sise: 3\n"
        "     |   ^\n"
        'error: --set seed=x:1:6: seed: expected a whole number from 0 to 4294967295, found "x" (Seed of\n'
        "     everything random. Default: 0)\n"
        "     | seed=x\n"
        "     |      ^\n"
        "3 problems\n"
    )


def test_no_color_and_no_terminal(terminal: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    write(terminal, MINIMAL + "sede: 1\n")
    line = 'error: recipe.yaml:3:1: sede: unknown key (did you mean "seed"?)\n'
    monkeypatch.setenv("NO_COLOR", "1")
    for command in ("validate", "plan", "apply"):  # the same for every command
        assert main([command, "recipe.yaml"]) == 2
        err = capsys.readouterr().err
        assert plain(err) == line + "   3 | sede: 1\n     | ^\n"
        assert "\x1b[3" not in err
    monkeypatch.delenv("FORCE_COLOR")
    assert main(["validate", "recipe.yaml"]) == 2
    assert capsys.readouterr().err == line


def test_text_that_a_terminal_would_obey_is_shown(terminal: Path, capsys: Captured) -> None:
    write(terminal, MINIMAL + '"a\\e[31mb\\nc": 1\nname: "a\u202eb/"\n')
    assert main(["validate", "recipe.yaml"]) == 2
    err = plain(capsys.readouterr().err)
    assert "recipe.yaml:3:1: a\\x1b[31mb\\nc: unknown key" in err
    assert 'name: "a\N{REPLACEMENT CHARACTER}b/"' in err
    assert "\u202e" not in err


@pytest.mark.parametrize("column", [1, 5, 300, 590, 600])
@pytest.mark.parametrize("unit", ["abcdef", "日本語日本語", "a\tb\tc\t"])
def test_a_long_line_is_cut_around_the_caret(tmp_path: Path, column: int, unit: str) -> None:
    line = unit * 100
    path = tmp_path / "long.yaml"
    path.write_text(f"{line}\n")
    for width in (10, 40, 80):
        source, caret = excerpt(Mark(str(path), 1, column), width)
        assert source.cell_len <= max(width, 27)
        before = caret.plain.index("^")
        shown = source.plain
        under = next(index for index in range(len(shown) + 1) if cell_len(shown[:index]) >= before)
        assert shown[under] == {"\t": " "}.get(line[column - 1], line[column - 1])
    source, caret = excerpt(Mark(str(path), 1, column), 10_000)
    assert "…" not in source.plain


def test_lines_that_are_gone_or_empty(tmp_path: Path) -> None:
    assert excerpt(Mark(str(tmp_path / "gone.yaml"), 1, 1), 80) == []
    assert excerpt(Mark(str(tmp_path), 1, 1), 80) == []
    (tmp_path / "short.yaml").write_text("a: [1\n")
    assert excerpt(Mark(str(tmp_path / "short.yaml"), 3, 1), 80) == []
    source, caret = excerpt(Mark(str(tmp_path / "short.yaml"), 2, 1), 80)
    assert (source.plain, caret.plain) == ("   2 | (the end of the file)", "     | ^")
    source, _ = excerpt(Mark("--set seed=", 1, 6), 80)
    assert source.plain == "     | seed="


def test_json(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, MINIMAL, "good.yaml")
    write(tmp_path, MINIMAL + "sede: 1\n\ttrain: 2\n", "tab.yaml")
    write(tmp_path, MINIMAL + "extends: base.yaml\nseed: 4bit\n")
    write(tmp_path, "train: {epoch: 1}\n", "base.yaml")
    assert main(["validate", "--json", "good.yaml", "recipe.yaml", "tab.yaml", "gone.yaml"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    good, bad, tab, gone = json.loads(out)
    assert good == {"file": "good.yaml", "valid": True, "problems": [], "warnings": []}
    assert [(one["file"], one["line"], one["column"], one["path"]) for one in bad["problems"]] == [
        ("recipe.yaml", 4, 7, "seed"),
        ("base.yaml", 1, 9, "train.epoch"),
    ]
    assert bad["problems"][1]["what"] == "unknown key"
    assert bad["problems"][1]["remedy"] == 'did you mean "epochs"?'
    assert [(one["line"], one["column"], one["path"]) for one in tab["problems"]] == [(4, 1, None)]
    (missing,) = gone["problems"]
    assert (missing["file"], missing["line"], missing["path"], missing["what"]) == (
        "gone.yaml",
        None,
        None,
        "no such file",
    )
    assert main(["validate", "--json", "good.yaml"]) == 0


def test_problems_of_other_rooms_are_located_too(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL + "quantize:\n  rules: [{match: a, keep: float}]\n"))
    path = str(tmp_path / "recipe.yaml")
    problem = located(PlanError("it does not fit", where="quantize.rules[0]"), recipe)
    assert str(problem) == f"{path}:4:11: quantize.rules[0]: it does not fit"
    assert as_data(problem, path) == {
        "file": path, "line": 4, "column": 11, "path": "quantize.rules[0]", "what": "it does not fit", "remedy": None,
    }  # fmt: skip
    lines = [text.plain for text in pictured(problem, Console(width=200))]
    assert lines[1:] == ["   4 |   rules: [{match: a, keep: float}]", "     |           ^"]
    elsewhere = located(PlanError("broken", where="decoder.layers.0"), recipe)
    assert as_data(elsewhere, path)["what"] == "decoder.layers.0: broken"
    assert as_data(elsewhere, path)["file"] == path
    same = PlanError("here", where=recipe.where(("quantize", "rules", 0, "match")))
    assert as_data(same, path)["column"] == 19


def test_warnings_are_no_reason_to_stop(terminal: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = ("recipe.yaml:3:1: quantize.rules[0]: later rules undo it",)
    plan = SimpleNamespace(alignments=(), quantizers={"a": 1}, warnings=warnings)
    monkeypatch.setattr("qrecipe.commands.bind.bind", lambda recipe, **others: plan)
    write(terminal, MINIMAL)
    assert main(["validate", "--bind", "recipe.yaml"]) == 0
    out, err = capsys.readouterr()
    assert plain(out) == "recipe.yaml: valid, and binds: 1 quantizers\n"
    assert "\x1b[1;33mwarning: \x1b[0m" in err
    assert plain(err) == f"warning: {warnings[0]}\n"
    monkeypatch.delenv("FORCE_COLOR")
    assert main(["validate", "--bind", "--json", "recipe.yaml"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"file": "recipe.yaml", "valid": True, "problems": [], "warnings": list(warnings)}]
    assert err == ""
    assert main(["validate", "--bind", "recipe.yaml"]) == 0
    assert capsys.readouterr().err == f"warning: {warnings[0]}\n"


TWELVE = [
    ("recipe.yaml", 6, "model.weights.builtin", "exclude each other"),
    ("recipe.yaml", 8, "quantize.weight.bits", '"4bit"'),
    ("recipe.yaml", 9, "quantize.activation.quantizer", '"lqs+"'),
    ("recipe.yaml", 9, "quantize.activation.per", "only for weights"),
    ("recipe.yaml", 11, "quantize.rules[0].kep", "unknown key"),
    ("recipe.yaml", 12, "quantize.rules[1].keep", "found true"),
    ("recipe.yaml", 14, "train.optimizer.lr_backbone", "at least 0"),
    ("base.yaml", 5, "distill.align[0].at", "querry"),
    ("base.yaml", 8, "distill.targets[0].match.tau", "only for kind: foreground"),
    ("base.yaml", 12, "train.batch_size", "duplicate key"),
    ("base.yaml", 13, "train.schedule.drop_at", "only for a step schedule"),
    ("base.yaml", 16, "data.train.images", "NO_SUCH_PLACE is not set"),
]


def test_twelve_mistakes_in_two_files(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "docs" / "mistakes")
    monkeypatch.delenv("NO_SUCH_PLACE", raising=False)
    assert main(["validate", "recipe.yaml", "--json"]) == 2
    (verdict,) = json.loads(capsys.readouterr().out)
    found = [(one["file"], one["line"], one["path"], one["what"]) for one in verdict["problems"]]
    assert [row[:3] for row in found] == [row[:3] for row in TWELVE]
    for (*_, what), (*_, word) in zip(found, TWELVE, strict=True):
        assert word in what


def test_the_picture_of_the_documentation_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_SUCH_PLACE", "")
    drawing = runpy.run_path(str(ROOT / "docs" / "pictures" / "mistakes.py"))
    drawn = (ROOT / "docs" / "pictures" / "mistakes.svg").read_text(encoding="utf-8")
    for _, line, path, _ in TWELVE:
        assert path in drawn
        assert f":{line}:" in drawn
    assert drawn.count("error:") == 12
    texts = [re.findall(r">([^<>]+)</text>", picture) for picture in (drawing["picture"](), drawn)]
    assert texts[0] == texts[1]  # fonts and colours are rich's own affair
    assert len(texts[1]) > 50


def test_the_schema_is_printed(capsys: Captured) -> None:
    assert main(["schema"]) == 0
    Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
    assert main(["schema", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("### The whole file\n")
