"""Exit codes, messages, and what is not loaded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qrecipe import __version__, cli
from qrecipe.cli import parser
from qrecipe.experiment import run_recipe, workspace
from qrecipe.student import store
from tests import tiny_commands as tiny
from tests.tiny_commands import Finished


def test_version_and_help() -> None:
    assert tiny.qrecipe("--version").out == f"qrecipe {__version__}\n"
    out = tiny.qrecipe("--help").out
    for name in cli.COMMANDS:
        assert re.search(rf"^    {name}\s", out, re.MULTILINE)
        takes_no_recipe = ("init", "schema", "export", "bench", "report", "compare")
        assert name in takes_no_recipe or "--set KEY=VALUE" in tiny.qrecipe(name, "--help").out


def test_every_command_that_captures_can_do_so_anew() -> None:
    without = {name for name in cli.COMMANDS if "--no-cache" not in tiny.qrecipe(name, "--help").out}
    assert without == {"compare", "schema"}  # which build no model


@pytest.mark.usefixtures("surroundings")
def test_no_cache_reaches_the_capture(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a recipe's model, and of a saved student."""
    asked: list[bool] = []
    for room in (workspace, store):
        captured = room.capture_original

        def asking(*given: Any, captured: Any = captured, cache: bool, **options: Any) -> Any:
            asked.append(cache)
            return captured(*given, **options)

        monkeypatch.setattr(room, "capture_original", asking)
    run = finished.folder
    commands = [
        ("plan", finished.recipe),
        ("evaluate", run),
    ]
    for words in commands:
        for extra, expected in (((), True), (("--no-cache",), False)):
            asked.clear()
            assert tiny.qrecipe(*words, *extra).code == 0
            assert set(asked) == {expected}, words


def test_every_command_has_its_function() -> None:
    choices = next(action.choices for action in parser()._subparsers._group_actions if action.choices)  # type: ignore[union-attr]
    assert list(choices) == list(cli.COMMANDS)


@pytest.mark.parametrize(
    "words", [(), ("bake",), ("validate",), ("apply", "a.yaml", "--steps", "3"), ("evaluate", "x", "--split", "dev")]
)
def test_words_that_are_none(words: tuple[str, ...]) -> None:
    answer = tiny.qrecipe(*words)
    assert answer.code == 2
    assert "usage: qrecipe" in answer.err


def test_every_problem_of_every_recipe(tmp_path: Path) -> None:
    """All at once, one line each, and what is valid is said to be."""
    good = tiny.recipe(tmp_path / "good.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "version: 1\nmodel: {architecture: demo, wieghts: {}}\nquantize:\n  weight: {bits: 40, quantizer: lsq}\n"
    )
    answer = tiny.qrecipe("validate", bad, good, tmp_path / "gone.yaml")
    assert answer.code == 2
    assert answer.out == f"{good}: valid\n"
    lines = answer.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    assert [re.search(r"(\w+\.yaml)(:\d+:\d+)?", line)[0] for line in lines] == [  # type: ignore[index]
        "bad.yaml:2:29", "bad.yaml:4:11", "bad.yaml:4:18", "gone.yaml",
    ]  # fmt: skip
    assert 'did you mean "weights"' in lines[0]


def test_overrides(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml")
    assert tiny.qrecipe("validate", recipe, "--set", "train.epochs=3", "--set", "seed=1").code == 0
    assert "--set train.epoch=3" in tiny.qrecipe("validate", recipe, "--set", "train.epoch=3").error
    assert "override" in tiny.qrecipe("validate", recipe, "--set", "train").error


def test_validate_loads_no_library_of_models(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml")
    code = (
        "import sys; from qrecipe.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'transformers', 'pycocotools', 'scipy')))"
    )
    subprocess.run([sys.executable, "-c", code, "validate", str(recipe)], check=True, capture_output=True)


SPIES = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Spy())
from qrecipe.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("own", "waits"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=["unset", "count", "policy"],
)
def test_threads_are_told_how_to_wait_before_torch_is_there(tmp_path: Path, own: Mapping[str, str], waits: str) -> None:
    """What the user has set is left."""
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", SPIES, "predict", str(tmp_path / "none"), "image.png"]
    done = subprocess.run(command, env={**clean, **own}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, [waits])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Before there is a run, nothing is said of going on with it."""

    def end(*arguments: object, **keywords: object) -> None:
        os.kill(os.getpid(), number)

    text = "error: interrupted" if number == signal.SIGINT else f"error: ended by {number.name}"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(run_recipe, "Workspace", end)
        answer = tiny.qrecipe("apply", finished.recipe, "--output", tmp_path / "run")
    assert (answer.code, answer.out, answer.err) == (128 + number, "", f"{text}\n")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(run_recipe, "run_phases", end)
    answer = tiny.qrecipe("apply", finished.recipe, "--output", tmp_path / "run")
    assert (answer.code, answer.err) == (128 + number, f"{text} (continue the run with --resume)\n")
    assert signal.getsignal(number) is before


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves main, so that Python shows the traceback and exits with 1."""

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(cli.COMMANDS, "validate", replace(cli.COMMANDS["validate"], run=fail))
    with pytest.raises(ZeroDivisionError):
        tiny.qrecipe("validate", "a.yaml")


def test_output_that_nobody_reads(finished: Finished) -> None:
    """``qrecipe apply ... | head -1`` ends without a complaint, and not as if all were done."""
    with tiny.start("apply", finished.recipe, "--output", finished.folder) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_data_that_cannot_be_used(finished: Finished, tmp_path: Path) -> None:
    """Said before a folder is made."""
    (tmp_path / "empty.json").write_text("{}")
    split = {"images": str(tmp_path), "annotations": str(tmp_path / "empty.json")}
    recipe = tiny.recipe(tmp_path / "coco.yaml", data={"format": "coco", "train": split, "val": split})
    error = tiny.qrecipe("apply", recipe, "--output", tmp_path / "run").error
    assert "not COCO's" in error
    assert not (tmp_path / "run").exists()
