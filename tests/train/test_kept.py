"""Which checkpoints stay, when training ends early, and what a damaged one leads to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qrecipe.errors import TrainError
from qrecipe.recipe.definition import OptimizerSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.termination import Terminated, listening
from qrecipe.train.records import FitResult, Records
from qrecipe.train.trainer import Trainer
from tests.tiny_training import TinyLoader, TinyScores, TinyTrainable
from tests.train.tiny_fits import break_off

SPEC = TrainSpec(stages=(StageSpec("all", 4),), optimizer=OptimizerSpec(lr=1e-2), keep=3)


def fit(folder: Path, spec: TrainSpec = SPEC, resume: bool = False, **others: object) -> FitResult:
    given = {"evaluate": lambda _: TinyScores(0.1), **others}
    return Trainer(TinyTrainable(3), TinyLoader(), spec, Records(folder), **given).fit(resume)  # type: ignore[arg-type]


def folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


@pytest.mark.parametrize(("keep", "expected"), [(1, []), (2, ["epoch-3"]), (9, ["epoch-1", "epoch-2", "epoch-3"])])
def test_the_last_epochs_are_kept(keep: int, expected: list[str], tmp_path: Path) -> None:
    fit(tmp_path, replace(SPEC, keep=keep))
    assert folders(tmp_path) == ["best", *expected, "last"]
    for name in expected:
        assert load_checkpoint(tmp_path / name).epoch == int(name[-1])


def test_a_checkpoint_within_an_epoch_does_not_push_out_another(tmp_path: Path) -> None:
    with listening(), pytest.raises(Terminated):
        fit(tmp_path, listener=break_off(3, 2))
    assert folders(tmp_path) == ["best", "epoch-1", "epoch-2", "last"]
    fit(tmp_path, resume=True)
    assert folders(tmp_path) == ["best", "epoch-2", "epoch-3", "last"]


def cut_short(last: Path) -> None:
    path = last / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:100])


def foreign(last: Path) -> None:
    shutil.rmtree(last)
    last.mkdir()
    (last / "model.safetensors").write_bytes(b"somebody else's")


def newer(last: Path) -> None:
    path = last / "manifest.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (cut_short, "not the one that was written"),
        (foreign, "there is no checkpoint"),
        (newer, "format 99"),
        (shutil.rmtree, "there is no checkpoint"),
    ],
)
def test_the_one_before_a_damaged_one_is_named(damage: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    fit(tmp_path)
    expected = load_checkpoint(tmp_path / "last").weights
    last = tmp_path / "last"
    damage(last)
    cut_short(tmp_path / "epoch-3")
    with pytest.raises(TrainError) as caught:
        fit(tmp_path, resume=True)
    assert what in caught.value.what
    assert caught.value.remedy == (
        f"the checkpoint after epoch 2 is whole; to go on from there: "
        f"mv {last} {last}.damaged && mv {tmp_path / 'epoch-2'} {last}, and --resume again"
    ).replace(f"mv {last} {last}.damaged && " if not last.exists() else "\0", "")
    if last.exists():
        last.rename(tmp_path / "last.damaged")
    (tmp_path / "epoch-2").rename(last)
    result = fit(tmp_path, resume=True)
    assert [line["epoch"] for line in result.history] == [1, 2, 3, 4]
    found = load_checkpoint(last).weights
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_with_nothing_before_it_nothing_is_offered(tmp_path: Path) -> None:
    fit(tmp_path, replace(SPEC, keep=1))
    cut_short(tmp_path / "last")
    with pytest.raises(TrainError) as caught:
        fit(tmp_path, replace(SPEC, keep=1), resume=True)
    assert caught.value.remedy == "use another checkpoint, or start again"


def scorer(*aps: float) -> Callable[[torch.nn.Module], TinyScores]:
    values = iter(aps)
    return lambda module: TinyScores(next(values))


def test_patience_ends_a_training(tmp_path: Path) -> None:
    """Epochs of the last stage count, and of equals the first is the best."""
    stages = (StageSpec("first", 1, ("backbone.*",)), StageSpec("all", 6))
    spec = replace(SPEC, stages=stages, patience=2)
    result = fit(tmp_path / "a", spec, evaluate=scorer(0.9, 0.1, 0.3, 0.3, 0.2))
    assert (result.epochs, result.best_epoch, len(result.history)) == (5, 3, 5)
    again = fit(tmp_path / "a", spec, resume=True, evaluate=scorer())
    assert again == result
    going = fit(tmp_path / "b", spec, evaluate=scorer(0.9, 0.1, 0.2, 0.1, 0.3, 0.4, 0.5))
    assert (going.epochs, going.best_epoch) == (7, 7)


def test_patience_waits_for_an_epoch_that_is_scored(tmp_path: Path) -> None:
    """Else a training of which every fifth epoch is scored would always end three epochs behind the first of them."""
    spec = replace(SPEC, stages=(StageSpec("all", 12),), evaluate_every=2, patience=1)
    result = fit(tmp_path / "a", spec, evaluate=scorer(0.1, 0.9, 0.95, 0.2))
    assert (result.best_epoch, result.best_ap, result.epochs) == (6, 0.95, 8)


def test_the_best_is_never_other_weights_than_those_that_are_kept(tmp_path: Path) -> None:
    """The run goes back by an epoch, whose repetition scores otherwise, as on other hardware."""
    spec = replace(SPEC, stages=(StageSpec("all", 5),))

    with pytest.raises(StopIteration):
        fit(tmp_path, spec, evaluate=scorer(0.1, 0.2, 0.9))
    last = tmp_path / "last"
    shutil.rmtree(last)
    (tmp_path / "epoch-2").rename(last)
    result = fit(tmp_path, spec, resume=True, evaluate=scorer(0.15, 0.12, 0.5))
    best = load_checkpoint(tmp_path / "best")
    assert (result.best_epoch, result.best_ap) == (3, 0.9) == (best.epoch, best.best["AP"])  # type: ignore[index]


def test_the_best_of_another_training_is_not_taken(tmp_path: Path) -> None:
    spec = replace(SPEC, stages=(StageSpec("all", 3),))
    fit(tmp_path, spec, evaluate=scorer(0.1, 0.2, 0.9))
    for folder in folders(tmp_path):
        if folder != "best":
            shutil.rmtree(tmp_path / folder)
    other = replace(SPEC, stages=(StageSpec("all", 2),), optimizer=OptimizerSpec(lr=2e-2))
    result = fit(tmp_path, other, evaluate=scorer(0.5, 0.4))
    assert (result.best_epoch, result.best_ap, load_checkpoint(tmp_path / "best").epoch) == (1, 0.5, 1)


def test_a_training_of_as_many_epochs_has_the_same_schedule(tmp_path: Path) -> None:
    """What the control does: patience does not count for it."""
    spec = replace(SPEC, patience=1)
    result = fit(tmp_path / "a", spec, stop_after=3, evaluate=scorer(0.3, 0.2, 0.1))
    whole = fit(tmp_path / "b")
    assert result.epochs == 3
    assert [line["loss"] for line in result.history] == [line["loss"] for line in whole.history[:3]]
    assert [line["lr"] for line in result.history] == [line["lr"] for line in whole.history[:3]]
