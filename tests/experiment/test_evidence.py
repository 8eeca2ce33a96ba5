"""What a run keeps for its page, against the run itself; and gathered again from the models that it keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import qrecipe
from qrecipe.errors import RunError
from qrecipe.experiment import phases
from qrecipe.experiment.events import Event, Noted
from qrecipe.experiment.experiment import Experiment
from qrecipe.experiment.phases import PHASES
from qrecipe.experiment.workspace import Workspace
from qrecipe.recipe import recipe_from_mapping
from qrecipe.run.evidence import read_evidence
from qrecipe.run.files import WriteError
from qrecipe.run.folder import RunFolder
from tests.tiny_commands import TINY, Finished

RECIPE = recipe_from_mapping(TINY, "tiny")


def evidence(folder: Path) -> dict[str, Any]:
    found = read_evidence(folder)
    assert found is not None
    return found


def test_a_run_keeps_what_its_page_shows(finished: Finished) -> None:
    found = evidence(finished.folder)
    plan = json.loads((finished.folder / "plan.json").read_text())
    quantized = {site["name"]: site for site in plan["sites"] if site["quantizer"]}
    assert len(found["noise"]) == plan["totals"]["quantizers"]
    for one in found["noise"]:
        site = quantized[one["site"]]
        assert (one["role"], one["kind"], one["bits"]) == (site["role"], site["kind"], site["spec"]["bits"])
    levels = [one["decibels"] for one in found["noise"] if one["decibels"] is not None]
    assert levels == sorted(levels)
    assert all(0 < level < 100 for level in levels)
    assert (found["row"], found["split"], found["compared"]) == ("trained", "val", 8)
    (layer,) = found["queries"]
    assert [one["name"] for one in layer["series"]] == ["teacher", "student", "student, aligned"]
    assert len(found["attention"]["images"]) == 3
    assert finished.phases["evidence"] == {"images": 8, "sites": len(found["noise"]), "layers": 1}


def test_the_worst_come_first_and_boxes_are_within_their_image(finished: Finished) -> None:
    found = evidence(finished.folder)
    apart = [one["disagreement"] for one in found["images"]]
    assert len(apart) == 8
    assert apart == sorted(apart, reverse=True)
    for one in found["images"]:
        with Image.open(finished.folder / "evidence" / one["picture"]) as picture:
            assert picture.size == (one["width"], one["height"])
        for name, x, y, width, height in one["truth"]:
            assert 0 <= name < len(found["names"])
            assert 0 <= x <= x + width <= 1.001
            assert 0 <= y <= y + height <= 1.001
        for own in (*one["teacher"], *one["student"]):
            assert own[5] >= found["score"]
            assert own[6] is None or one["truth"][own[6]][0] == own[0]


@pytest.mark.usefixtures("surroundings")
def test_it_is_gathered_again_from_what_the_run_keeps(finished: Finished, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    shutil.rmtree(copy / "evidence")
    made = qrecipe.write_report([copy], evidence=True)
    assert evidence(copy) == evidence(finished.folder)
    assert 'class="stepper"' in made.path.read_text()
    for name in ("student", "calibrated"):
        shutil.rmtree(copy / name)
    with pytest.raises(RunError, match="has no student yet"):
        qrecipe.write_report([copy], evidence=True)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", recipe=dict(RECIPE.resolved), text="") as made:
        yield made


def test_what_goes_wrong_ends_no_run(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ZeroDivisionError("of pictures")

    told: list[Event] = []
    experiment = Experiment(Workspace(RECIPE, ("val",), told.append), run)
    vars(experiment)["student"] = None
    (phase,) = (phase for phase in PHASES if phase.name == "evidence")
    monkeypatch.setattr(phases, "gather_evidence", fail)
    assert phase.work(experiment) == {"failed": "ZeroDivisionError: of pictures"}
    assert told == [Noted("evidence", "warning: not gathered: ZeroDivisionError: of pictures")]

    def full(*given: object) -> None:
        raise WriteError("full")

    monkeypatch.setattr(phases, "gather_evidence", full)
    with pytest.raises(WriteError):
        phase.work(experiment)


def test_a_run_that_is_not_asked_has_none(run: RunFolder) -> None:
    (phase,) = (phase for phase in PHASES if phase.name == "evidence")
    assert not phase.applies(Experiment(Workspace(RECIPE, ("val",)), run))
