"""A run that reconstructs: a row of its own, and cut off on the way it ends as one that was not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.experiment import reconstruction
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.train import keeping
from tests import tiny_commands as tiny
from tests.cli.test_resume import Killed


def recipe(path: Path) -> Path:
    whole = {"steps": 6, "images": 12, "batch_size": 4}
    quantize = {
        **tiny.TINY["quantize"],
        "reconstruct": {"batches": 1, "batch_size": 4, "iterations": 6, "whole": whole},
    }
    return tiny.recipe(path, quantize=quantize, distill=None, train={"epochs": 0})


def weights(run: Path, model: str) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run / model).weights)


def test_cut_off_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe(tmp_path / "tiny.yaml")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    out = tiny.qrecipe("apply", own, "--output", whole).fine
    planned = json.loads((whole / "plan.json").read_text())["blocks"]
    told = re.findall(r"^reconstruction: block \d+/\d+ (.+): error", out, re.MULTILINE)
    assert told == [block["name"] for block in planned]
    assert "student, reconstructed" in out
    assert "reconstruction: epoch 2/2" in out
    save, seen = reconstruction.save_checkpoint, []

    def cut(folder: Path, checkpoint: Any, moved: Path | None = None) -> None:
        save(folder, checkpoint, moved)
        seen.append(folder)
        if len(seen) in (2, 5, len(told) + 1):  # in the blocks, and behind an epoch of the whole
            raise Killed

    monkeypatch.setattr(reconstruction, "save_checkpoint", cut)
    monkeypatch.setattr(keeping, "save_checkpoint", cut)
    for more in ((), ("--resume",), ("--resume",)):
        with pytest.raises(Killed):
            tiny.qrecipe("apply", own, "--output", parts, *more)
    again = tiny.qrecipe("apply", own, "--output", parts, "--resume").fine
    assert "reconstruction: block" not in again
    assert "reconstruction: epoch 1/2" not in again
    assert "reconstruction: epoch 2/2" in again
    for model in ("calibrated", "reconstructed", "student"):
        mine, other = weights(whole, model), weights(parts, model)
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine), model
    assert (whole / "summary.json").read_text() == (parts / "summary.json").read_text()
    kept, made = weights(whole, "student"), weights(whole, "reconstructed")
    assert all(torch.equal(kept[name], made[name]) for name in kept)
    before = weights(whole, "calibrated")
    assert any(not torch.equal(before[name], made[name]) for name in made)
    shown = tiny.qrecipe("evaluate", whole, "--model", "reconstructed").fine
    assert "reconstructed" in shown
