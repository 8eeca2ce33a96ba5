"""A run that is cut off anywhere goes on, and ends as one that was not."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrecipe.run.folder import RunFolder
from qrecipe.train import keeping
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished


class Killed(BaseException):
    """Nothing in qrecipe catches it, as nothing catches a kill."""


def after_phase(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Cut off just after a phase was recorded."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        finish = RunFolder.finish_phase

        def cut(self: RunFolder, done: str, result: Any) -> Any:
            finish(self, done, result)
            if done == name:
                raise Killed
            return result

        monkeypatch.setattr(RunFolder, "finish_phase", cut)

    return patch


def at_checkpoint(number: int, before: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """Cut off before or after a checkpoint of the training that runs, counted from 1."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        save, seen = keeping.save_checkpoint, []

        def cut(folder: Path, checkpoint: Any, moved: Path | None = None) -> None:
            seen.append(folder)
            if len(seen) == number and before:
                raise Killed
            save(folder, checkpoint, moved)
            if len(seen) == number:
                raise Killed

        monkeypatch.setattr(keeping, "save_checkpoint", cut)

    return patch


def test_cut_off_again_and_again(finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    cuts = [
        after_phase("teacher"),
        after_phase("calibration"),
        after_phase("calibrated"),
        at_checkpoint(1, before=True),
        at_checkpoint(1, before=False),
        at_checkpoint(2, before=False),
        after_phase("student"),
        at_checkpoint(2, before=False),
        after_phase("control"),
        after_phase("test"),
    ]
    for number, cut in enumerate(cuts):
        more = ("--resume",) if number else ()
        with pytest.MonkeyPatch.context() as monkeypatch:
            cut(monkeypatch)
            with pytest.raises(Killed):
                tiny.qrecipe("apply", finished.recipe, "--output", folder, *more)
    tiny.qrecipe("apply", finished.recipe, "--output", folder, "--resume").fine  # noqa: B018 - the property checks
    check_same(folder, finished)
    assert len(json.loads((folder / "environment.json").read_text())) == len(cuts) + 1


def check_same(folder: Path, finished: Finished) -> None:
    assert json.loads((folder / "summary.json").read_text()) == finished.summary
    assert RunFolder.read(folder).phases() == finished.phases
    names = ("phase", "epoch", "loss", "val", "best", "lr")
    runs = [(path / "metrics.jsonl").read_text().splitlines() for path in (folder, finished.folder)]
    lines = [[{name: json.loads(line)[name] for name in names} for line in run] for run in runs]
    assert lines[0] == lines[1]
    for name in ("calibrated", "student", "control"):
        weights = Path(name) / "weights.safetensors"
        assert (folder / weights).read_bytes() == (finished.folder / weights).read_bytes()


def test_ended_and_killed(finished: Finished, tmp_path: Path) -> None:
    """SIGTERM within an epoch, then a kill that nothing can catch, in processes of their own, with workers."""
    folder = tmp_path / "a run"
    words = ("apply", finished.recipe, "--output", folder, "--set", "data.workers=1")
    last = folder / "checkpoints" / "student" / "last" / "manifest.json"
    with tiny.start(*words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if ": epoch 1/2, step 1/2: " in line:
                process.send_signal(signal.SIGTERM)
                break
        _, err = process.communicate(timeout=300)
    assert process.returncode == 143
    assert err == "error: ended by SIGTERM (continue the run with --resume)\n"
    manifest = json.loads(last.read_text())
    assert (manifest["epoch"], manifest["step"]) == (0, 1)

    with tiny.start(*words, "--resume") as process:
        while json.loads(last.read_text())["epoch"] == 0 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (-signal.SIGKILL, "")
    assert not (folder / "summary.json").exists()

    assert "continue it with --resume" in tiny.qrecipe(*words).error
    assert "train.epochs" in tiny.qrecipe(*words, "--resume", "--set", "train.epochs=3").error
    error = tiny.qrecipe("evaluate", folder).error
    assert "not finished and has no trained model yet" in error
    assert "calibrated, real, off" in error
    out = tiny.qrecipe(*words, "--resume").fine
    assert "val: teacher" not in out  # that phase is not repeated
    check_same(folder, finished)
