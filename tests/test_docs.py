"""What the documents show: Python that runs, and commands that the command line knows."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from qrecipe import HOMES
from qrecipe.cli import main, parser
from qrecipe.experiment.events import Event
from qrecipe.experiment.phases import PHASES
from qrecipe.quantizers import INITIALISERS, QUANTIZERS, QuantizedOperand, build
from qrecipe.recipe import QuantizerSpec, default_offset, load_recipe
from qrecipe.recipe.key_tables import reference
from qrecipe.structure.operands import OPERATORS
from qrecipe.vocabulary import OVERRIDABLE as ROLES
from qrecipe.vocabulary import TAPS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("", "sh", "bash", "console", "shell")
FOLDERS = ("recipes", "benchmarks", "examples")


def blocks(path: Path) -> list[tuple[str, str]]:
    """(info string, text) of every fenced block."""
    return [(info.strip(), text) for info, text in FENCE.findall(path.read_text(encoding="utf-8"))]


def commands(text: str) -> list[list[str]]:
    """The words of every ``qrecipe`` command in a block, without prompt, environment and comment."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        match = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?qrecipe (.*)", line)
        if match:
            found.append(shlex.split(match[1].split(" > ")[0], comments=True))
    return found


def shell(path: Path) -> str:
    """Everything of a document that is typed into a shell: blocks of it, and indented lines."""
    text = path.read_text(encoding="utf-8")
    indented = "\n".join(re.findall(r"^ {4}.*$", FENCE.sub("", text), re.MULTILINE))
    return "\n".join([*(own for info, own in blocks(path) if info in SHELLS), indented])


LINES = [
    pytest.param(words, id=f"{path.name}: {' '.join(words)[:60]}")
    for path in DOCUMENTS
    for words in commands(shell(path))
]
RECIPES = [
    pytest.param(text, id=f"{path.name}, {number}")
    for path in DOCUMENTS
    for number, (info, text) in enumerate(blocks(path), start=1)
    if info == "yaml"
]


@pytest.mark.skipif(not LINES, reason="no document shows a command yet")
@pytest.mark.parametrize("words", LINES or [[]])
def test_a_command_is_known(words: list[str]) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        try:
            parser().parse_args(words)
        except SystemExit:
            pytest.fail(complaint.getvalue())
    for word in words:
        if word.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            assert (ROOT / word).exists(), f"there is no {word}"


@pytest.mark.skipif(not DOCUMENTS, reason="there is no document yet")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks marked ``python`` alone, in one namespace; of those with a further mark only the syntax counts."""
    for folder in FOLDERS:
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": path.stem}
    for info, text in blocks(path):
        if info.startswith("python"):
            ast.parse(text)
        if info == "python":
            exec(compile(text, str(path), "exec"), namespace)


@pytest.mark.skipif(not RECIPES, reason="no document shows a recipe yet")
@pytest.mark.parametrize("text", RECIPES or [""])
def test_a_recipe_is_valid(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it stood in ``recipes/``; the data may be anywhere. A fragment is given a version and a model.

    ``# NAME.yaml is: TEXT`` in it says what a recipe that it extends holds.
    """
    for key, line in (("version", "version: 1"), ("model", "model: {architecture: demo}")):
        if not re.search(rf"^{key}:", text, re.MULTILINE):
            text = f"{line}\n{text}"
    for name, base in re.findall(r"^# (\S+\.yaml) is: (.*)$", text, re.MULTILINE):
        (tmp_path / name).write_text(base)
    for name in re.findall(r"\$\{?(\w+)", text):
        monkeypatch.setenv(name, str(tmp_path))
    for folder in (ROOT / "recipes").iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "shown.yaml").write_text(text)
    load_recipe(tmp_path / "shown.yaml")


def test_commands_are_found() -> None:
    text = (
        '$ qrecipe apply a.yaml \\\n    --resume   # goes on\nBCCD=x .venv/bin/qrecipe validate "b c.yaml"\nqrecipe\n'
    )
    assert commands(text) == [["apply", "a.yaml", "--resume"], ["validate", "b c.yaml"]]


def test_the_keys_of_the_recipe_document_are_the_schemas() -> None:
    """If not: put what ``qrecipe schema --markdown`` prints below the mark."""
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert text.partition("<!-- keys -->\n\n")[2] == reference()


def test_the_tables_of_the_recipe_document_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8").partition("<!-- keys -->")[0]
    flat = " ".join(text.split())
    for names in (ROLES, TAPS, dict.fromkeys(OPERATORS.values())):
        assert ", ".join(f"`{name}`" for name in names) in flat
    starts = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert starts[starts.index("quantizer") :] == ["quantizer", *QUANTIZERS, "init", *INITIALISERS]
    for name, row in QUANTIZERS.items():
        offsets = {operand: default_offset(operand, name) for operand in row.offsets}
        (rest,) = {offset for operand, offset in offsets.items() if operand != "weight"} or {offsets["weight"]}
        zero = f"none for weights, else {rest}" if offsets.get("weight", rest) != rest else rest
        made = [
            build(QuantizerSpec(4, name, "tensor"), QuantizedOperand("site", (2, 2), None, 1, is_weight, not is_weight))
            for is_weight in (True, False)
            if ("weight" if is_weight else "activation") in row.offsets
        ]
        (init,) = {quantizer.own_initialiser() for quantizer in made}
        state = "trained" if row.trained else "as calibrated"
        assert f"| `{name}` | {made[0].title} | {state} | {zero} | `{init}` |" in text


def test_the_tables_of_the_python_document_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    events, phases = text.partition("## Events")[2].split("## Phases")
    kinds = {kind.__name__: [field.name for field in fields(kind)] for kind in get_args(Event)}
    rows = dict(re.findall(r"^\| `([A-Z]\w+)` \| (.*) \|$", events, re.MULTILINE))
    assert list(rows) == list(kinds)
    for name, names in kinds.items():
        assert [word for word in re.findall(r"`(\w+)`", rows[name]) if word in names] == names
    assert re.findall(r"^\| `(\w+)` \|", phases, re.MULTILINE) == [phase.name for phase in PHASES]
    functions = re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)
    assert set(functions) == {name for name, home in HOMES.items() if home.startswith("commands.") and name.islower()}


def test_links_of_documents_lead_somewhere() -> None:
    for path in DOCUMENTS:
        text = FENCE.sub("", path.read_text(encoding="utf-8"))
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, anchor = link.partition("#")
            assert link.startswith("http") or (path.parent / file).exists(), f"{path.name}: {link}"
            assert file or anchor in anchors, f"{path.name}: {link}"


def test_files_that_documents_name_are_there() -> None:
    named = re.compile(r"`((?:qrecipe|tests|benchmarks|examples|recipes|docs)/[\w/.-]*\w)/?`")
    for path in (*DOCUMENTS, ROOT / "CONTRIBUTING.md"):
        names = named.findall(path.read_text(encoding="utf-8"))
        assert not [name for name in names if not (ROOT / name).exists()], path


def test_the_json_of_the_recipe_document_is_what_validate_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = [text for info, text in blocks(ROOT / "docs" / "recipe.md") if info == "json"]
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text("version: 1\nmodel: {architecture: demo}\nseed: 4bit\n")
    assert main(["validate", "recipe.yaml", "--json"]) == 2
    assert capsys.readouterr().out == shown
