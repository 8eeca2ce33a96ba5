"""Two processes against one: the same global batch gives the same weights, scores and steps, and a signal ends both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.data.coco import read_coco
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.labels import LabelMap
from qrecipe.data.loader import EpochBatches
from qrecipe.data.synthetic import synthetic_splits
from qrecipe.recipe.definition import InputSpec, SyntheticSpec
from qrecipe.run.checkpoint import load_checkpoint
from tests.train import two_processes


def launch(folder: Path, count: int) -> list[dict[str, Any]]:
    """Run ``two_processes`` as so many processes; what each says, by rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    given = {**os.environ, "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    given |= {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": str(count)}
    words = [sys.executable, "-m", "tests.train.two_processes", str(folder)]
    started = [
        subprocess.Popen(
            words, env={**given, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(count)
    ]
    answers = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0] * count
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    """A folder of two processes' trainings, what they say, and what one process says of the same."""
    folder = tmp_path_factory.mktemp("processes")
    told = launch(folder / "two", 2)
    return folder, told, two_processes.work(folder / "one")


def test_the_same_weights(both: tuple[Path, list[dict[str, Any]], dict[str, Any]]) -> None:
    """Also where a process has no image of a batch, and with foreground matching, whose expectation is global."""
    folder, _, _ = both
    for name in two_processes.TRAININGS:
        one, two = (load_checkpoint(folder / kind / name / "last") for kind in ("one", "two"))
        assert one.step == two.step > 0
        for key, value in one.weights.items():
            torch.testing.assert_close(two.weights[key], value, rtol=1e-6, atol=1e-9)
        lines = [(folder / kind / name / "metrics.jsonl").read_text().splitlines() for kind in ("one", "two")]
        for mine, theirs in zip(*(map(json.loads, own) for own in lines), strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
            assert mine["parts"] == pytest.approx(theirs["parts"], rel=1e-5)


def test_both_have_the_same_state(both: tuple[Path, list[dict[str, Any]], dict[str, Any]]) -> None:
    _, told, alone = both
    for name in two_processes.TRAININGS:
        assert told[0][name] == told[1][name]
    assert told[0]["scores"] == told[1]["scores"] == alone["scores"]
    assert told[0]["results"] == told[1]["results"] == alone["results"]


def test_a_signal_to_one_ends_both_at_the_same_step(
    both: tuple[Path, list[dict[str, Any]], dict[str, Any]],
) -> None:
    """And the run goes on from there to the same bits."""
    folder, told, _ = both
    assert [own["ended"] for own in told] == [[143, 4], [143, 4]]
    assert load_checkpoint(folder / "two" / "ended" / "last").step == 9
    whole, resumed = (load_checkpoint(folder / "two" / name / "last").weights for name in ("random", "ended"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_an_error_of_one_is_told_to_the_first(
    both: tuple[Path, list[dict[str, Any]], dict[str, Any]],
) -> None:
    _, told, _ = both
    assert told[0]["error"] == "process 1 of 2: image 7 is broken (mend that)"


def test_every_image_is_in_one_process(tmp_path: Path) -> None:
    """In training each batch is shared; in evaluation the batches are, in turn."""
    split = synthetic_splits(SyntheticSpec(train=11, val=1, test=1, size=64), tmp_path)["train"]
    index = read_coco(split)
    labels = LabelMap.contiguous(index.categories)
    dataset = CocoDataset(index, labels, InputSpec(size=(64, 64)))
    for shuffle in (True, False):
        alone = list(EpochBatches(dataset, 5, shuffle))
        shares = [EpochBatches(dataset, 5, shuffle, (rank, 2)) for rank in range(2)]
        if not shuffle:
            assert [list(share) for share in shares] == [alone[::2], alone[1::2]]
            assert [len(share) for share in shares] == [2, 1]
            continue
        assert [len(share) for share in shares] == [3, 3]
        idle = [[share.is_idle(number) for number in share.numbers()] for share in shares]
        assert idle == [[False, False, True], [False, False, False]]
        for number, (first, second) in enumerate(zip(*shares, strict=True)):
            own = [*([] if idle[0][number] else first), *second]
            assert own == alone[number]
            assert first
