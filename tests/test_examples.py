"""Every example runs."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

from qrecipe.cli import main
from qrecipe.recipe import load_recipe
from qrecipe.student.store import load

pytestmark = pytest.mark.usefixtures("surroundings")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
Captured = pytest.CaptureFixture[str]
SMALL = (
    "model.weights=null",
    "model.config={width: 16, queries: 5, decoder_layers: 1, heads: 2}",
    "model.input.size=64",
    "quantize.activation.init=minmax",
    "quantize.attention.init=minmax",
    "data.synthetic={train: 8, val: 4, test: 4, size: 64}",
    "train.batch_size=4",
    "train.epochs=2",
)


def test_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a student"
    monkeypatch.setattr(sys, "argv", ["own_loop.py", str(folder), *SMALL])
    torch.manual_seed(0)
    left = runpy.run_path(str(EXAMPLES / "own_loop.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "epoch 1: detection " in out
    assert "epoch 2: detection " in out
    assert "distill " in out
    assert "saved and loaded" in out
    pixels = torch.rand(1, 3, 64, 64)
    loaded = load(folder, left["built"].model)
    assert torch.equal(left["student"].eval()(pixels)["logits"], loaded(pixels)["logits"])


@pytest.mark.parametrize("name", ["original_detr", "vit_smca"])
def test_a_detector_of_ones_own_binds(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(ROOT)
    changes = (
        "model.weights=null",
        "model.arguments={width: 16, queries: 5, heads: 2}",
        "data.synthetic={train: 2, val: 2, test: 2, size: 64}",
    )
    words = ["validate", "--bind", f"examples/{name}.yaml", *(word for one in changes for word in ("--set", one))]
    assert main(words) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert f"examples/{name}.yaml: valid, and binds: " in out
    assert "queries aligned in 2 decoder layers" in out


def test_the_screen_in_the_document_is_what_its_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8")
    command, _, rest = text.partition("## 7.")[2].partition("    qrecipe ")[2].partition("\n\n```text\n")
    assert main(shlex.split(command)) == 2
    assert capsys.readouterr().err == rest.partition("```")[0]


def test_no_example_is_forgotten() -> None:
    names = ["cannot_be_captured.py", "original_detr.py", "own_loop.py", "vit_smca.py"]
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == names
    recipes = ["original_detr", "original_detr_teacher", "vit_smca", "vit_smca_teacher"]
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == recipes
    for name in recipes:
        load_recipe(EXAMPLES / f"{name}.yaml")
