from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qrecipe.errors import RunError
from qrecipe.run import environment
from qrecipe.run.environment import describe_environment
from qrecipe.run.folder import RunFolder, differences
from qrecipe.run.lock import RunLock
from qrecipe.run.summary import Summary, SummaryRow

RECIPE: dict[str, Any] = {"name": "tiny", "train": {"stages": [{"epochs": 3}], "betas": [0.9, 0.99]}, "output": "a"}
TEXT = "name: tiny\n"
SUMMARY = Summary(
    "tiny",
    "test",
    (
        SummaryRow("teacher", {"AP": 0.5}, {"cat": 0.5}, bytes=400, operations=1e9),
        SummaryRow("trained", {"AP": 0.45}, {"cat": 0.45}, bytes=60, operations=1.5e8),
        SummaryRow("control", {"AP": 0.0}),
    ),
    ("tests only",),
)


class Killed(BaseException):
    """Stands in for kill -9."""


def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    with RunFolder.create(path, recipe=RECIPE, text=TEXT) as run:
        run.write_plan({"sites": []})
        run.metrics.append({"epoch": 1})
        assert run.phase("teacher", lambda: {"pair": (1, 2)}) == {"pair": [1, 2]}
        assert not run.is_finished
        with pytest.raises(RunError, match="not finished"):
            run.summary()
        run.finish(SUMMARY)
    read = RunFolder.read(path)
    assert read.is_finished
    assert read.summary() == SUMMARY
    assert read.recipe() == RECIPE
    assert read.metrics.read() == [{"epoch": 1}]
    assert read.phases() == {"teacher": {"pair": [1, 2]}}
    assert (path / "recipe.yaml").read_text() == TEXT
    assert json.loads((path / "plan.json").read_text()) == {"sites": []}
    assert read.checkpoints("student") == path / "checkpoints" / "student"


def test_finished_phases_are_skipped(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT).close()
    calls: list[str] = []

    def work(name: str, result: Any) -> Any:
        calls.append(name)
        if name == "student" and len(calls) == 2:
            raise Killed
        return result

    def apply() -> list[Any]:
        with RunFolder.resume(tmp_path, recipe=RECIPE, text=TEXT) as run:
            return [run.phase(name, lambda name=name: work(name, {"by": name})) for name in ("teacher", "student")]

    with pytest.raises(Killed):
        apply()
    assert apply() == [{"by": "teacher"}, {"by": "student"}]
    assert apply() == [{"by": "teacher"}, {"by": "student"}]
    assert calls == ["teacher", "student", "student"]
    assert len(json.loads((tmp_path / "environment.json").read_text())) == 4


def test_a_phase_may_have_no_result(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT) as run:
        assert run.phase("plan", lambda: None) is None
        assert run.phase("plan", lambda: pytest.fail("done already")) is None


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.json", "photo.jpg", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"nothing .* is overwritten") as caught:
        RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT)
    assert ("--resume" in str(caught.value)) == (name == "recipe.json")
    assert "--output" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("at", range(4))
def test_a_kill_during_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    path = tmp_path / "run"
    replaced: list[Any] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        replaced.append(target)
        if len(replaced) - 1 == at:
            raise Killed
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with suppress(Killed):
            RunFolder.create(path, recipe=RECIPE, text=TEXT).close()
    if (path / "recipe.json").exists():
        run = RunFolder.resume(path, recipe=RECIPE, text=TEXT)
    else:
        run = RunFolder.create(path, recipe=RECIPE, text=TEXT)
    assert run.recipe() == RECIPE
    assert (path / "recipe.yaml").read_text() == TEXT
    run.close()


def test_output_in_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.create(tmp_path / "file", recipe=RECIPE, text=TEXT)


def test_resume_lists_every_differing_key(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT).close()
    changed = {
        "name": "tiny",
        "train": {"stages": [{"epochs": 5}], "betas": [0.9], "lr": 0.1},
        "output": "elsewhere",
        "seed": None,
    }
    with pytest.raises(RunError) as caught:
        RunFolder.resume(tmp_path, recipe=changed, text=TEXT)
    assert str(caught.value).splitlines()[1:5] == [
        "  train.stages[0].epochs: 3 in the run, 5 now",
        "  train.betas: [0.9, 0.99] in the run, [0.9] now",
        "  train.lr: absent in the run, 0.1 now",
        "  seed: absent in the run, null now (undo these changes, or choose another --output)",
    ]
    RunFolder.resume(tmp_path, recipe={**RECIPE, "output": "moved"}, text=TEXT).close()


def test_differences() -> None:
    assert differences({"a": 1}, {"a": 1}) == []
    assert differences({"a": 1}, {"a": True}) == ["a: 1 in the run, true now"]
    assert differences({"a": {"b": 1}}, {"a": None}) == ['a: {"b": 1} in the run, null now']
    assert differences({"a": 1}, {}) == ["a: 1 in the run, absent now"]
    assert differences([1, 2], [1, 3]) == ["[1]: 2 in the run, 3 now"]
    assert differences(1, 2) == ["recipe: 1 in the run, 2 now"]
    assert len(differences({"a": "x" * 500}, {"a": ""})[0]) < 100


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        RunFolder.resume(tmp_path / "none", recipe=RECIPE, text=TEXT)
    with pytest.raises(RunError, match="no run folder"):
        RunFolder.read(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "text"), [("recipe.json", "[1]"), ("phases.json", "[]"), ("summary.json", "{}")])
def test_damaged_files(tmp_path: Path, name: str, text: str) -> None:
    with RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT) as run:
        (tmp_path / name).write_text(text)
        look = {"recipe.json": run.recipe, "phases.json": run.phases, "summary.json": run.summary}[name]
        with pytest.raises(RunError):
            look()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT)
    with pytest.raises(RunError, match=r"another process writes this run \(process \d+ on"):
        RunFolder.resume(tmp_path, recipe=RECIPE, text=TEXT)
    with pytest.raises(RunError, match="another process writes this run"):  # not: continue it with --resume
        RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT)
    assert RunFolder.read(tmp_path).recipe() == RECIPE
    first.close()
    first.close()
    RunFolder.resume(tmp_path, recipe=RECIPE, text=TEXT).close()


def test_a_refused_resume_gives_the_lock_back(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, recipe=RECIPE, text=TEXT).close()
    with pytest.raises(RunError, match="not the one"):
        RunFolder.resume(tmp_path, recipe={}, text=TEXT)
    RunFolder.resume(tmp_path, recipe=RECIPE, text=TEXT).close()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = (
        "import fcntl, json, os, sys\n"
        "h = os.open(sys.argv[1] + '/.lock', os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(h, fcntl.LOCK_EX)\n"
        "os.write(h, json.dumps({'pid': os.getpid(), 'host': 'here'}).encode())\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=rf"process {process.pid} on here"):
            RunLock(tmp_path)
        process.kill()
        process.wait()
    lock = RunLock(tmp_path)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] != process.pid
    lock.release()


def test_a_worker_that_outlives_its_parent_has_no_lock(tmp_path: Path) -> None:
    """A process that was killed leaves its forked workers behind for seconds, with copies of its descriptors."""
    holder = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from qrecipe.run.lock import RunLock\n"
        "lock = RunLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    print('forked', flush=True)\n"
        "    sys.stdin.read()\n"
        "    os._exit(0)\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"forked\n"
        with pytest.raises(RunError, match=rf"process {process.pid} on "):  # the parent's lock is not given back
            RunLock(tmp_path)
        process.kill()
        process.wait()
        RunLock(tmp_path).release()  # and its worker still reads its input


def test_shares() -> None:
    trained = SUMMARY.row("trained")
    assert trained is not None
    assert SUMMARY.share(trained, "teacher") == pytest.approx(0.9)
    assert SUMMARY.share(trained, "control") is None
    assert SUMMARY.share(trained, "calibrated") is None
    assert SUMMARY.share(trained, "teacher", "AP50") is None


def test_environment_is_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = describe_environment()
    assert json.loads(json.dumps(seen)) == seen
    assert seen["packages"]["torch"]
    assert seen["command"] == sys.argv

    def no_git(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(environment.subprocess, "run", no_git)
    assert describe_environment()["revision"] is None


def test_the_revision_is_the_checkouts(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(tmp_path), *arguments],
            check=True,
            capture_output=True,
        )

    assert environment.revision_of(tmp_path) is None
    git("init")
    assert environment.revision_of(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    clean = environment.revision_of(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "a").write_text("2")
    assert environment.revision_of(tmp_path) == f"{clean}-dirty"
    assert environment.revision_of(tmp_path / "a") is None
