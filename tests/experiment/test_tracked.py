"""Experiment trackers are told what metrics.jsonl has; a resumed run goes on in them; what fails ends no run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qrecipe.recipe import tracker_table
from qrecipe.recipe.schema_file import schema
from qrecipe.recipe.tracker_table import TRACKERS
from qrecipe.train import trackers
from qrecipe.train.trackers import OPENERS
from tests import tiny_commands as tiny

pytestmark = pytest.mark.usefixtures("surroundings")
WORDS = ("--set", "train.trackers=[wandb]")


class Told:
    """A tracker that remembers, and may fail at a step."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.begun: list[int] = []
        self.settings: list[Mapping[str, Any]] = []
        self.steps: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0
        self.fails_at = fails_at

    def open(self, folder: Path, step: int, kept: dict[str, str]) -> Told:
        self.begun.append(step)
        assert kept.setdefault("wandb", "this run") == "this run"
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings.append(values)

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        assert step is not None
        if step == self.fails_at:
            raise ConnectionError("no route to host")
        self.steps.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    def make(fails_at: int | None = None) -> Told:
        made = Told(fails_at)
        monkeypatch.setitem(trackers.OPENERS, "wandb", made.open)
        monkeypatch.setitem(tracker_table.TRACKERS, "wandb", ("json",))  # a package that is here
        return made

    return make


def test_the_tables_agree() -> None:
    train = schema()["properties"]["train"]["properties"]
    assert list(TRACKERS) == list(OPENERS) == train["trackers"]["items"]["enum"]


def test_all_that_the_metrics_have_is_told_and_a_resumed_run_goes_on(told: Callable[..., Told], tmp_path: Path) -> None:
    """Cut off within the student's second epoch; the control follows."""
    tracker, run = told(), tmp_path / "run"
    words = ("apply", tiny.recipe(tmp_path / "tiny.yaml"), "--output", run)

    class Cut(BaseException):
        pass

    log = tracker.log

    def cut(values: dict[str, Any], step: int | None = None) -> None:
        if step == 4:
            raise Cut
        log(values, step)

    tracker.log = cut  # type: ignore[method-assign]
    with pytest.raises(Cut):
        tiny.qrecipe(*words, *WORDS)
    assert (tracker.begun, tracker.finished) == ([1], 1)
    tracker.log = log  # type: ignore[method-assign]
    tiny.qrecipe(*words, *WORDS, "--resume").fine  # noqa: B018 - the property checks
    assert (tracker.begun, tracker.finished) == ([1, 3], 2)  # from the checkpoint
    assert len(tracker.settings) == 1
    assert tracker.settings[0]["train.batch_size"] == 8
    assert json.loads((run / "trackers.json").read_text()) == {"wandb": "this run"}
    steps = [step for step, values in tracker.steps if any(" step/" in name for name in values)]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 7, 8]
    epochs = [values for _, values in tracker.steps if any(" epoch/" in name for name in values)]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(epochs) == len(lines) == 4
    for values, line in zip(epochs, lines, strict=True):
        assert values[f"{line['phase']} epoch/loss"] == line["loss"]
        assert values[f"{line['phase']} epoch/val AP"] == line["val"]["AP"]


def test_reconstruction_of_the_whole_network_is_no_training_that_is_told(
    told: Callable[..., Told], tmp_path: Path
) -> None:
    tracker = told()
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train={"epochs": 1, "batch_size": 8})
    whole = "quantize.reconstruct={iterations: null, whole: {steps: 2, batch_size: 8}}"
    tiny.qrecipe("apply", recipe, "--output", tmp_path / "run", *WORDS, "--set", whole).fine  # noqa: B018
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["reconstruction", "student"]
    assert [step for step, values in tracker.steps if "student step/loss" in values] == [1, 2]
    assert not any(name.startswith("reconstruction") for _, values in tracker.steps for name in values)


def test_one_that_fails_is_told_and_ends_no_run(told: Callable[..., Told], tmp_path: Path) -> None:
    tracker = told(fails_at=2)
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train={"epochs": 2, "batch_size": 8})
    out = tiny.qrecipe("apply", recipe, "--output", tmp_path / "run", *WORDS).fine
    assert out.count("warning: wandb is told nothing more: no route to host") == 1
    assert [step for step, _ in tracker.steps] == [1]


@pytest.mark.parametrize("command", ["validate", "apply"])
def test_one_that_is_not_installed_is_an_error_at_once(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracker_table.TRACKERS, "mlflow", ("no_such_package_here",))
    answer = tiny.qrecipe(command, tiny.recipe(tmp_path / "tiny.yaml"), "--set", "train.trackers=[mlflow]")
    assert answer.code == 2
    assert "train.trackers[0]: mlflow is not installed" in answer.err + answer.out
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run is cut off, and goes on from the checkpoint before."""
    from accelerate.tracking import TensorBoardTracker
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train = {"epochs": 2, "batch_size": 8, "trackers": ["tensorboard"]}
    recipe = tiny.recipe(tmp_path / "tiny.yaml", train=train)
    run = tmp_path / "run"
    log = TensorBoardTracker.log

    def cut(self: TensorBoardTracker, values: dict[str, Any], step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt
        log(self, values, step)

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardTracker, "log", cut)
        with pytest.raises(KeyboardInterrupt):
            tiny.qrecipe("apply", recipe, "--output", run)
    tiny.qrecipe("apply", recipe, "--output", run, "--resume").fine  # noqa: B018 - the property checks
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    losses = found.Scalars("student step/loss")
    assert [one.step for one in losses] == [1, 2, 3, 4]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one.value for one in found.Scalars("student epoch/val AP")] == pytest.approx(
        [line["val"]["AP"] for line in lines]
    )
