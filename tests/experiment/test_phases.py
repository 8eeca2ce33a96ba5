"""The order of phases, and that each is done once: over a run folder, with phases that only count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qrecipe.experiment.events import Event, PhaseEnded, PhaseStarted
from qrecipe.experiment.experiment import Experiment
from qrecipe.experiment.phases import PHASES, Phase, check_order, run_phases
from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import recipe_from_mapping
from qrecipe.run.folder import RunFolder

RECIPE = recipe_from_mapping({"version": 1, "model": {"architecture": "demo"}}, "tiny")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", recipe=dict(RECIPE.resolved), text="") as made:
        yield made


def test_the_list_is_in_order_and_its_names_are_unique() -> None:
    check_order(PHASES)
    assert len({phase.name for phase in PHASES}) == len(PHASES)
    for phase in PHASES:
        for needed in phase.needs:
            others = [replace(own, needs=()) for own in PHASES if own.name not in (needed, phase.name)]
            with pytest.raises(ValueError, match=f"the phase {phase.name} needs {needed} before it"):
                check_order([*others, phase])


def test_recorded_phases_are_restored_and_others_done_anew(run: RunFolder) -> None:
    seen: list[str] = []
    told: list[Event] = []

    def worked(experiment: Experiment) -> object:
        seen.append("work")
        return (1, 2)

    def again(experiment: Experiment) -> None:
        seen.append("anew")

    def restored(experiment: Experiment, result: object) -> None:
        seen.append(f"restored {result}")

    phases = [
        Phase("a", (), worked, restore=restored),
        Phase("b", ("a",), again, recorded=False),
        Phase("never", (), worked, applies=lambda experiment: False),
    ]
    experiment = Experiment(Workspace(RECIPE, ("train",), told.append), run)
    run_phases(experiment, phases)
    assert seen == ["work", "anew"]
    assert run.phases() == {"a": [1, 2]}
    assert told == [PhaseStarted("a"), PhaseEnded("a", [1, 2]), PhaseStarted("b"), PhaseEnded("b")]
    told.clear()
    run_phases(experiment, phases)
    assert seen == ["work", "anew", "restored [1, 2]", "anew"]
    assert told[:2] == [PhaseStarted("a", recorded=True), PhaseEnded("a", [1, 2])]


def test_a_phase_that_fails_is_not_recorded_and_what_follows_is_not_done(run: RunFolder) -> None:
    def fail(experiment: Experiment) -> object:
        raise ZeroDivisionError

    experiment = Experiment(Workspace(RECIPE, ("train",)), run)
    phases = [Phase("a", (), lambda experiment: 1), Phase("b", (), fail), Phase("c", (), lambda experiment: 2)]
    with pytest.raises(ZeroDivisionError):
        run_phases(experiment, phases)
    assert run.phases() == {"a": 1}
    run_phases(experiment, [phases[0], replace(phases[1], work=lambda experiment: 3), phases[2]])
    assert run.phases() == {"a": 1, "b": 3, "c": 2}
