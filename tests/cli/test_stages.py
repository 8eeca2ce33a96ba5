"""A run whose bits narrow while it is trained: calibrated, trained, cut off, and kept at the recipe's own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import qrecipe
from tests import tiny_commands as tiny

STAGES = [{"name": "eight", "epochs": 1, "bits": 8}, {"name": "own", "epochs": 1}]
TRAIN = {
    "stages": STAGES,
    "batch_size": 4,
    "optimizer": {"lr": 1.0e-2, "betas": [0.0, 0.9]},
    "ema": {"decay": 0.5, "warmup": 0},
    "freeze_oscillating": {"threshold": 0.0, "final": 0.0, "momentum": 0.5},
}


def test_a_run_ends_as_one_that_was_never_cut_off(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train=TRAIN)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tiny.qrecipe("apply", recipe, "--output", whole).fine  # noqa: B018 - the property checks
    with tiny.start("apply", recipe, "--output", parts) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if ": epoch 1/2, step 1/4: " in line:
                process.send_signal(signal.SIGTERM)
                break
        process.communicate(timeout=300)
    assert process.returncode == 143
    assert manifest(parts / "checkpoints" / "student" / "last")["extra"]["bits"] == 8
    tiny.qrecipe("apply", recipe, "--output", parts, "--resume").fine  # noqa: B018
    stored = "student/weights.safetensors"
    assert (parts / stored).read_bytes() == (whole / stored).read_bytes()
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["eight", "own"]
    assert [line["best"] for line in lines] == [False, True]
    assert lines[1]["frozen"] > 0
    student = qrecipe.load(whole / "student")
    assert {quantizer.grid.bits for quantizer in student.quantizers.values()} == {4, 8}


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found
