"""``qrecipe sweep``: planned, carried out, taken up again."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import qrecipe
from qrecipe.errors import QRecipeError, RunError
from qrecipe.evaluation.matches import ImageMatches
from qrecipe.experiment.events import Event, Noted, nobody
from qrecipe.recipe.sweep_file import read_sweep
from qrecipe.run.folder import RunFolder
from qrecipe.run.summary import Summary, SummaryRow
from qrecipe.study.carry_out import carry_out
from qrecipe.study.in_parallel import carry_out_in_parallel, log_of, threads_of
from qrecipe.study.planned import PlannedRun, chosen, planned_runs
from qrecipe.study.state import failure_of, seconds_left, state_of
from qrecipe.termination import Terminated
from tests import tiny_commands as tiny
from tests.study.tiny_sweeps import Carried, write_sweep

pytestmark = pytest.mark.usefixtures("surroundings")


def planned(folder: Path) -> tuple[PlannedRun, ...]:
    """Three runs of nothing in particular."""
    folder.mkdir(exist_ok=True)
    variants = {name: {"train.epochs": epochs} for epochs, name in enumerate("abc", start=1)}
    file = write_sweep(folder, seeds=[0], also=variants)
    return planned_runs(read_sweep(file), folder / "runs")


def pretend(run: PlannedRun, resume: bool = False) -> None:
    """A run that leaves a recipe and a summary."""
    make = RunFolder.resume if resume else RunFolder.create
    with make(run.folder, recipe=run.recipe.resolved, text="") as folder:
        folder.finish(Summary(run.group, "test", (SummaryRow("trained", {"AP": 0.5}),)))


def test_what_is_printed(carried: Carried) -> None:
    assert "sweep: run 1 of 2 (plain seed 0)\n" in carried.out
    assert "sweep: 1 of 2 runs are done, about " in carried.out
    table = carried.out[carried.out.index("Results") :].splitlines()
    assert table[1].split() == ["variant", "runs", "AP", "AP50", "size", "operations"]
    assert table[3].split()[:2] == ["plain", "2/2"]
    assert "±" in table[3]
    assert table[-2:] == ["2 runs: 2 done", f"runs: {carried.folder}"]


def test_nothing_is_done_twice(carried: Carried) -> None:
    before = {path: path.stat().st_mtime_ns for path in carried.folder.rglob("*")}
    out = tiny.qrecipe("sweep", carried.file, "--output", carried.folder).fine
    assert {path: path.stat().st_mtime_ns for path in carried.folder.rglob("*")} == before
    assert "sweep: run 2 of 2 (plain seed 1): done already" in out
    assert out.endswith(carried.out[carried.out.index("Results") :])


def test_a_run_is_that_of_apply(carried: Carried, tmp_path: Path) -> None:
    words = ("--set", "seed=1", "--set", "distill=null", "--set", "name=plain")
    tiny.qrecipe("apply", carried.file.parent / "base.yaml", "--output", tmp_path / "run", *words).fine  # noqa: B018
    assert RunFolder.read(tmp_path / "run").summary() == RunFolder.read(carried.folder / "plain_seed1").summary()


def test_as_data(carried: Carried) -> None:
    found = json.loads(tiny.qrecipe("sweep", carried.file, "--output", carried.folder, "--json").out)
    own = qrecipe.sweep(carried.file, carried.folder, dry_run=True)
    assert json.loads(json.dumps(own.to_dict())) == found
    assert [run["state"] for run in found["runs"]] == ["done", "done"]
    assert found["seconds_left"] == 0
    assert own.runs[0].summary == RunFolder.read(carried.folder / "plain_seed0").summary()


def test_rules_that_match_nothing_are_said_before_the_first_run(tmp_path: Path) -> None:
    """Of all variants at once, each at its place; nothing is made."""
    rules = {name: {"quantize.rules": [{"match": name, "keep": "float"}]} for name in ("nowhere", "neither")}
    file = write_sweep(tmp_path, seeds=[0, 1], also={"plain": {}, **rules})
    answer = tiny.qrecipe("sweep", file, "--output", tmp_path / "runs")
    assert answer.code == 2
    assert answer.err.count("error: ") == 2
    assert f"{file}:" in answer.err
    assert all(f"'{name}'" in answer.err or f'"{name}"' in answer.err for name in rules)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_makes_nothing(carried: Carried, tmp_path: Path) -> None:
    words = ("sweep", carried.file, "--output", tmp_path / "out", "--dry-run")
    out = tiny.qrecipe(*words, "--set", "train.batch_size=4").fine
    assert not (tmp_path / "out").exists()
    assert "2  plain seed 1  to do  distill=null" in out
    assert "2 runs: 2 to do; how long they take is not known before one is done\n" in out
    shutil.copytree(carried.folder / "plain_seed0", tmp_path / "out" / "plain_seed0")
    assert "2 runs: 1 done, 1 to do; about " in tiny.qrecipe(*words).fine


def test_a_folder_of_another_recipe(carried: Carried, tmp_path: Path) -> None:
    """All of them are looked at before the first run begins."""
    (tmp_path / "plain_seed1").mkdir()
    (tmp_path / "plain_seed1" / "mine").touch()
    error = tiny.qrecipe("sweep", carried.file, "--output", tmp_path).error
    assert "plain_seed1: the output folder is not empty, and nothing in it is overwritten" in error
    assert [path.name for path in tmp_path.iterdir()] == ["plain_seed1"]
    answer = tiny.qrecipe("sweep", carried.file, "--output", carried.folder, "--set", "train.epochs=2")
    assert answer.code == 2
    assert answer.err.count("train.epochs: 1 in the run, 2 now") == 2


def test_one_run_by_number_or_name(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    for which in (2, "2", "b seed 0", "b_seed0"):
        assert [run.name for run in chosen(runs, which)] == ["b seed 0"]
    assert chosen(runs, None) == runs
    for which, text in (("4", "the sweep has no run 4 .it has 1 to 3"), ("b_seed", "the closest are b_seed0")):
        with pytest.raises(RunError, match=text):
            chosen(runs, which)


def test_a_number_is_a_number_where_runs_are_named_by_numbers(tmp_path: Path) -> None:
    """A job of an array asks for one run each; names would send two of them to one."""
    variants = {str(epochs): {"train.epochs": epochs} for epochs in (4, 3, 2)}
    file = write_sweep(tmp_path, seeds=[0], also=variants)
    file.write_text(file.read_text().replace("seeds:", "# seeds:").replace("- 0", ""))
    runs = planned_runs(read_sweep(file), tmp_path / "runs")
    assert [run.name for run in runs] == ["4", "3", "2"]
    assert [chosen(runs, number)[0].number for number in (1, 2, "3")] == [1, 2, 3]
    assert chosen(runs, "4")[0].number == 1


def test_one_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    runs, events = planned(tmp_path), list[Event]()
    faults: dict[str, Exception] = {"a": QRecipeError("the disk is gone"), "b": ZeroDivisionError("by nothing")}

    def one(run: PlannedRun, resume: bool) -> None:
        if run.group in faults:
            raise faults[run.group]
        pretend(run)

    carry_out(runs, one, events.append)
    states = [state_of(run) for run in runs]
    assert [(state.state, state.message) for state in states] == [
        ("failed", "the disk is gone"),
        ("failed", "a fault of qrecipe's own: ZeroDivisionError: by nothing"),
        ("done", None),
    ]
    assert Noted("sweep", "run 1 of 3 (a seed 0) failed: the disk is gone") in events
    kept = json.loads((tmp_path / "runs" / "b_seed0.failed.json").read_text())
    assert "ZeroDivisionError" in kept["traceback"]
    faults.clear()
    carry_out(runs, one, nobody)
    assert [state_of(run).state for run in runs] == ["done"] * 3
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a_seed0", "b_seed0", "c_seed0"]


def test_the_exit_code_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qrecipe.commands import sweep

    def fail(*_: Any, **__: Any) -> None:
        raise QRecipeError("no such luck", remedy="try again")

    monkeypatch.setattr(sweep, "apply", fail)
    answer = tiny.qrecipe("sweep", write_sweep(tmp_path, seeds=[3]), "--output", tmp_path / "runs")
    assert answer.error == ("1 failed; the same command tries them again:\n  1  plain seed 3: no such luck (try again)")
    assert "1 run: 1 failed" in answer.out


def test_a_signal_ends_it_and_the_next_call_goes_on(tmp_path: Path) -> None:
    runs = planned(tmp_path)
    calls: list[tuple[str, bool]] = []

    def one(run: PlannedRun, resume: bool) -> None:
        calls.append((run.group, resume))
        if calls == [("a", False), ("b", False)]:
            RunFolder.create(run.folder, recipe=run.recipe.resolved, text="").close()
            raise Terminated(signal.SIGTERM)
        pretend(run, resume)

    with pytest.raises(Terminated, match="the same command goes on where it was"):
        carry_out(runs, one, nobody)
    assert [state_of(run).state for run in runs] == ["done", "interrupted", "to do"]
    carry_out(runs, one, nobody)
    assert calls == [("a", False), ("b", False), ("b", True), ("c", False)]
    assert [failure_of(run) for run in runs] == [None] * 3


def python(code: str) -> Callable[[PlannedRun], list[str]]:
    """Not a command of qrecipe at all: words for a process that only has to start and end."""
    return lambda run: [code]


def test_several_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that cannot say what was wrong are failures, with what they printed in a log."""
    runs, events = planned(tmp_path), list[Event]()
    pretend(runs[1])
    carry_out_in_parallel(runs, 2, python("nonsense"), events.append)
    states = [state_of(run) for run in runs]
    assert [state.state for state in states] == ["failed", "done", "failed"]
    assert states[0].message == f"{log_of(runs[0])}: its process ended with code 2"
    assert "invalid choice: 'nonsense'" in log_of(runs[2]).read_text()
    assert events[0] == Noted("sweep", "run 2 of 3 (b seed 0): done already", progress=True)
    assert 1 <= threads_of(2) <= threads_of(1)
    assert threads_of(10_000) == 1


def test_how_long_it_takes(tmp_path: Path) -> None:
    took: list[float | None] = [10.0, 30.0, 14.0, None, None, None, None]
    names = ["done", "done", "done", "done", "to do", "interrupted", "to do"]
    states = [SimpleNamespace(seconds=seconds, state=state) for seconds, state in zip(took, names, strict=True)]
    assert seconds_left(states, 1) == 42.0  # type: ignore[arg-type]
    assert seconds_left(states, 2) == 28.0  # type: ignore[arg-type]
    assert seconds_left(states[4:], 2) is None  # type: ignore[arg-type]


def test_a_run_keeps_what_it_found_in_each_image(carried: Carried) -> None:
    folder = carried.folder / "plain_seed0"
    summary = RunFolder.read(folder).summary()
    assert {row.model for row in summary.rows} == {path.stem for path in (folder / "matches").iterdir()}
    for row in summary.rows:
        assert ImageMatches.read(folder / "matches" / f"{row.model}.npz").AP() == pytest.approx(row.scores["AP"])
