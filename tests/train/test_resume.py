"""A training that was cut off goes on with the same bits, and only as what it was."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.errors import RunError, TrainError
from qrecipe.recipe.definition import OptimizerSpec, StageSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.run.lines import JsonLines
from qrecipe.train.events import StepTaken, TrainingEvent, TrainingStarted
from qrecipe.train.records import FitResult
from tests.tiny_training import TinyLoader, TinyTrainable
from tests.train.tiny_fits import SPEC, Cut, fit, on_step, same, scorer


@pytest.mark.parametrize("at", [(1, 2), (3, 3), (4, 1), (5, 3)])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, at: tuple[int, int]) -> None:
    aps = (0.5, 0.4, 0.3, 0.2, 0.25)
    whole = TinyTrainable(5)
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", seed=7, evaluate=scorer(*aps))

    def cut(progress: StepTaken) -> None:
        if (progress.epoch, progress.step) == at:
            raise Cut

    folder = tmp_path / "parts"
    with pytest.raises(Cut):
        fit(
            TinyTrainable(5), TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps),
            listener=on_step(cut),
        )  # fmt: skip
    torch.rand(17)
    parts = TinyTrainable(5 if at[0] == 1 else 6)  # other first weights: all must come from the checkpoint
    result = fit(parts, TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps[at[0] - 1 :]), resume=True)
    assert same(parts.student.state_dict(), whole.student.state_dict())
    assert same(parts.projection.state_dict(), whole.projection.state_dict())
    assert (result.best_epoch, result.best_ap) == (expected.best_epoch, expected.best_ap) == (3, 0.3)

    def figures(result: FitResult) -> list[dict[str, Any]]:
        return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in result.history]

    assert figures(result) == figures(expected)
    assert JsonLines(folder / "metrics.jsonl").read() == list(result.history)
    for kind in ("last", "best"):
        assert same(load_checkpoint(folder / kind).weights, load_checkpoint(tmp_path / "whole" / kind).weights)
    ours, theirs = (load_checkpoint(f / "last").training for f in (folder, tmp_path / "whole"))
    assert ours is not None
    assert theirs is not None
    for key, state in ours["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, theirs["optimizer"]["state"][key][name])


def test_a_kill_between_metrics_and_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aps = (0.1, 0.1, 0.2, 0.3, 0.1)
    whole = TinyTrainable()
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", evaluate=scorer(*aps))
    from qrecipe.train import keeping

    real = keeping.save_checkpoint
    folder = tmp_path / "parts"
    with monkeypatch.context() as patch:

        def save(path: Path, checkpoint: Any, moved: Path | None = None) -> None:
            if checkpoint.epoch == 4 and path.name == "last":
                raise Cut
            real(path, checkpoint, moved)

        patch.setattr(keeping, "save_checkpoint", save)
        with pytest.raises(Cut):
            fit(TinyTrainable(), TinyLoader(), SPEC, folder=folder, evaluate=scorer(*aps))
    assert load_checkpoint(folder / "best").epoch == 4
    parts = TinyTrainable()
    result = fit(parts, TinyLoader(), SPEC, folder=folder, evaluate=scorer(*aps[3:]), resume=True)
    assert same(parts.student.state_dict(), whole.student.state_dict())
    assert (result.best_epoch, result.best_ap) == (expected.best_epoch, expected.best_ap)
    assert [line["epoch"] for line in JsonLines(folder / "metrics.jsonl").read()] == [1, 2, 3, 4, 5]


def test_metrics_that_have_lost_lines_are_told(tmp_path: Path) -> None:
    def cut(progress: StepTaken) -> None:
        if progress.epoch == 4:
            raise Cut

    with pytest.raises(Cut):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(cut))
    metrics, told = tmp_path / "metrics.jsonl", list[TrainingEvent]()
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([lines[0], lines[0], lines[2], '{"phase": "train"}\n']))
    result = fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True, listener=told.append)
    started = told[0]
    assert isinstance(started, TrainingStarted)
    assert started.notes == (f"{metrics} has lost or doubled the line of epoch 1, 2; the weights are those of epoch 3",)
    assert [line["epoch"] for line in result.history] == [1, 1, 3, 4, 5]


def test_resuming_a_finished_training_changes_nothing(tmp_path: Path) -> None:
    first = TinyTrainable()
    result = fit(first, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5))
    second = TinyTrainable(8)
    again = fit(second, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(), resume=True)
    assert again == result
    assert same(second.student.state_dict(), first.student.state_dict())


def test_metrics_of_other_phases_stay(tmp_path: Path) -> None:
    metrics = JsonLines(tmp_path / "metrics.jsonl")
    short = replace(SPEC, stages=(StageSpec("full", 1),))
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path / "a", metrics=metrics, phase="control")
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path / "b", metrics=metrics, phase="student", resume=True)
    assert [(line["phase"], line["epoch"]) for line in metrics.read()] == [("control", 1), ("student", 1)]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    short = replace(SPEC, stages=(StageSpec("full", 1),))
    fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path)
    with pytest.raises(RunError, match="not overwritten"):
        fit(TinyTrainable(), TinyLoader(1), short, folder=tmp_path)


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    changed = replace(SPEC, optimizer=OptimizerSpec(lr=0.5))
    with pytest.raises(TrainError) as caught:
        fit(TinyTrainable(), TinyLoader(4), changed, folder=tmp_path, seed=3, resume=True)
    text = str(caught.value)
    for line in ("train.optimizer.lr: 0.01 in the run, 0.5 now", "seed: 0 in the run", "steps_per_epoch: 3 in the run"):
        assert line in text


def test_other_groups_are_refused(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    with pytest.raises(TrainError, match="of other parameters"):
        fit(
            TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True,
            is_backbone=lambda name: name.startswith("head"),
        )  # fmt: skip


def test_weights_only_cannot_be_resumed(tmp_path: Path) -> None:
    fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5))
    shutil.rmtree(tmp_path / "last")
    (tmp_path / "best").rename(tmp_path / "last")
    with pytest.raises(TrainError, match="weights only"):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True)
