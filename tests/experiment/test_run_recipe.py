"""A whole run without a terminal: what it tells, in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrecipe.experiment.events import Event, PhaseEnded, PhaseStarted, RunEnded, RunStarted, Scored
from qrecipe.experiment.phases import PHASES
from qrecipe.experiment.run_recipe import run_recipe
from qrecipe.recipe import recipe_from_mapping
from qrecipe.run.folder import RunFolder
from qrecipe.train.events import EpochEnded, StepTaken, TrainingStarted
from tests.tiny_commands import TINY

pytestmark = pytest.mark.usefixtures("surroundings")


def test_a_run_tells_what_happens(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_from_mapping({**TINY, "train": {"epochs": 1, "batch_size": 8}}, "tiny")
    folder, events = tmp_path / "run", list[Event]()
    summary = run_recipe(recipe, folder, listener=events.append)
    assert capfd.readouterr() == ("", "")
    assert not (folder / "detections.png").exists()  # nobody draws
    begun = [event.name for event in events if isinstance(event, PhaseStarted)]
    left_out = ("control", "reconstruction", "reconstructed", "evidence")
    assert begun == [phase.name for phase in PHASES if phase.name not in left_out]
    ended = {event.name: event.result for event in events if isinstance(event, PhaseEnded)}
    assert {name: result for name, result in ended.items() if result is not None} == RunFolder.read(folder).phases()
    assert [event.recipe for event in events if isinstance(event, RunStarted)] == [recipe.resolved]
    assert events[-1] == RunEnded(folder, summary)
    scored = [(event.split, event.model) for event in events if isinstance(event, Scored)]
    models = ["teacher", "student, calibrated", "student, trained"]
    assert scored == [("val", "teacher"), ("val", "student, calibrated"), *(("test", name) for name in models)]
    kinds = [type(event) for event in events if isinstance(event, TrainingStarted | StepTaken | EpochEnded)]
    assert kinds == [TrainingStarted, StepTaken, StepTaken, EpochEnded]
    (epoch,) = [event.record for event in events if isinstance(event, EpochEnded)]
    assert RunFolder.read(folder).metrics.read() == [epoch]
    assert run_recipe(recipe, folder) == summary


def test_what_a_listener_raises_ends_the_run_and_it_can_go_on(tmp_path: Path) -> None:
    recipe = recipe_from_mapping({**TINY, "train": {"epochs": 0}}, "tiny")

    def listen(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.name == "calibrated":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_recipe(recipe, tmp_path / "run", listener=listen)
    events: list[Event] = []
    run_recipe(recipe, tmp_path / "run", resume=True, listener=events.append)
    taken = [event.name for event in events if isinstance(event, PhaseStarted) and event.recorded]
    assert taken == ["teacher", "calibration"]
