"""Every example runs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from qrecipe.student.store import load_student

EXAMPLES = Path(__file__).parents[2] / "examples"
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
    loaded = load_student(folder, left["built"].model)
    assert torch.equal(left["student"].eval()(pixels)["logits"], loaded(pixels)["logits"])


def test_no_example_is_forgotten() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == ["own_loop.py"]
