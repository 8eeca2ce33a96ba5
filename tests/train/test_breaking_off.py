"""Signals, interrupts and a full disk: what a training leaves behind, and how it goes on."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
import torch

from qrecipe.errors import RunError
from qrecipe.run.checkpoint import load_checkpoint, load_weights
from qrecipe.termination import Terminated, listening
from qrecipe.train.events import StepTaken
from tests.tiny_training import TinyLoader, TinyScores, TinyStudent, TinyTrainable
from tests.train.tiny_fits import SPEC, fit, on_step, same, scorer


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("at", [(1, 1), (3, 2), (4, 3)])
def test_a_signal_leaves_the_step_that_was_taken(tmp_path: Path, at: tuple[int, int]) -> None:
    """Also within an epoch, where a resumed training goes on with the very same bits."""
    aps = (0.5, 0.4, 0.3, 0.2, 0.25)
    whole, folder = TinyTrainable(5), tmp_path / "parts"
    expected = fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", seed=7, evaluate=scorer(*aps))

    def end(progress: StepTaken) -> None:
        if (progress.epoch, progress.step) == at:
            send()

    with listening(), pytest.raises(Terminated) as ended:
        fit(
            TinyTrainable(5), TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps),
            listener=on_step(end),
        )  # fmt: skip
    assert ended.value.code == 143
    last = load_checkpoint(folder / "last")
    assert (last.epoch, last.step) == (at[0] - 1, (at[0] - 1) * 3 + at[1])
    torch.rand(17)
    parts, taken = TinyTrainable(6), list[tuple[int, int]]()
    result = fit(
        parts, TinyLoader(), SPEC, folder=folder, seed=7, evaluate=scorer(*aps[at[0] - 1 :]), resume=True,
        listener=on_step(lambda progress: taken.append((progress.epoch, progress.step))),
    )  # fmt: skip
    assert same(parts.state_dict(), {**whole.state_dict()})
    assert taken[:1] == [(at[0], at[1] + 1) if at[1] < 3 else (at[0] + 1, 1)]
    assert len(taken) == 5 * 3 - last.step
    assert [line["loss"] for line in result.history] == [line["loss"] for line in expected.history]
    assert [line["grad_norm"] for line in result.history] == [line["grad_norm"] for line in expected.history]


def test_a_signal_while_an_epoch_is_scored(tmp_path: Path) -> None:
    """The evaluation is not waited for: it is made again."""

    def score(module: torch.nn.Module) -> TinyScores:
        send(signal.SIGHUP)
        raise AssertionError

    with listening(), pytest.raises(Terminated) as ended:
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, evaluate=score)
    assert (ended.value.code, load_checkpoint(tmp_path / "last").step) == (129, 3)
    parts, whole = TinyTrainable(), TinyTrainable()
    fit(parts, TinyLoader(), SPEC, folder=tmp_path, evaluate=scorer(*[0.1] * 5), resume=True)
    fit(whole, TinyLoader(), SPEC, folder=tmp_path / "whole", evaluate=scorer(*[0.1] * 5))
    assert same(parts.state_dict(), whole.state_dict())


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    """What it breaks into is not kept."""

    def twice(progress: StepTaken) -> None:
        if progress.epoch == 2:
            send(signal.SIGINT)
            send(signal.SIGINT)
            raise AssertionError

    with listening(), pytest.raises(Terminated) as ended:
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(twice))
    assert ended.value.at_once
    assert load_checkpoint(tmp_path / "last").step == 3


def test_an_interrupt_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    def interrupt(progress: StepTaken) -> None:
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, listener=on_step(interrupt))
    assert load_weights(tmp_path / "last", TinyStudent()).epoch == 2


def test_a_full_disk_stops_with_the_last_checkpoint_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qrecipe.run import checkpoint

    real = checkpoint.write_synced
    written: list[str] = []

    def write(path: Path, data: bytes) -> None:
        written.append(path.name)
        if len(written) == 5:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_synced", write)
        with pytest.raises(RunError, match="the disk is full"):
            fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path)
    assert load_checkpoint(tmp_path / "last").epoch == 1
    result = fit(TinyTrainable(), TinyLoader(), SPEC, folder=tmp_path, resume=True)
    assert len(result.history) == 5
