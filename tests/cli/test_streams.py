"""Standard output that is full, closed, without a width or without Unicode; names that are not UTF-8."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qrecipe import cli
from qrecipe.cli.console import noticing
from qrecipe.experiment.events import Noted
from tests import tiny_commands as tiny


def shell(words: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which Q is qrecipe."""
    line = words.replace("Q", f"'{sys.executable}' -m qrecipe")
    return subprocess.run(["sh", "-c", line, "sh", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_under_standard_output(tmp_path: Path) -> None:
    done = shell("Q validate $1 > /dev/full", tiny.recipe(tmp_path / "tiny.yaml"))
    what = "error: standard output cannot be written: No space left on device (send it where there is space: "
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{what}> FILE, or > /dev/null)\n"
    assert shell("Q validate gone.yaml > /dev/full 2> /dev/full").returncode == 2


def test_streams_that_are_closed(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml")
    done = shell("Q validate $1 >&-", recipe)
    assert (done.returncode, done.stderr.startswith("error: standard output is closed (")) == (2, True)
    done = shell("Q validate $1 2>&-", recipe)
    assert (done.returncode, done.stdout) == (0, f"{recipe}: valid\n")


@pytest.mark.parametrize("columns", ["0", "00", "²", "9" * 5000, ""])
def test_a_width_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    recipe = tiny.recipe(tmp_path / "tiny.yaml")
    monkeypatch.setenv("COLUMNS", columns)
    assert tiny.qrecipe("validate", recipe).fine == f"{recipe}: valid\n"


def test_output_without_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters that the output cannot write, and bytes of names that are no characters, are escapes."""
    recipe = tiny.recipe(tmp_path / "größe.yaml")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert cli.main(["validate", str(recipe)]) == 0
    assert written.getvalue() == f"{tmp_path}/gr\\xf6\\xdfe.yaml: valid\n".encode()


def test_names_that_are_not_utf_8(tmp_path: Path, surroundings: None) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    recipe = tiny.recipe(folder / os.fsdecode(b"\xff.yaml"), train={"epochs": 0})
    assert tiny.qrecipe("validate", recipe).fine == f"{tmp_path}/caf\\udce9/\\udcff.yaml: valid\n"
    out = tiny.qrecipe("apply", recipe, "--output", folder / "run").fine
    assert out.endswith("run: " + str(tmp_path) + "/caf\\udce9/run\n")


@pytest.mark.parametrize(
    "words", [("apply", "R", "--output", "L"), ("evaluate", "L"), ("plan", "L"), ("diff", "L", "R")]
)
def test_paths_that_the_system_refuses(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A name that is too long, a folder without permission: whatever it says, it is one message."""
    recipe, long = tiny.recipe(tmp_path / "tiny.yaml"), tmp_path / ("x" * 300)
    answer = tiny.qrecipe(*[{"R": recipe, "L": long}.get(word, word) for word in words])
    assert answer.error.startswith(str(long))
    assert "File name too long" in answer.error


def test_an_error_of_the_system_with_a_place_and_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied", "/locked/up")

    monkeypatch.setitem(cli.COMMANDS, "validate", replace(cli.COMMANDS["validate"], run=refuse))
    assert tiny.qrecipe("validate", "a.yaml").error == "/locked/up: the system refuses it: Permission denied"

    def fail(*arguments: object) -> int:
        raise OSError("what a library means by it")

    monkeypatch.setitem(cli.COMMANDS, "validate", replace(cli.COMMANDS["validate"], run=fail))
    with pytest.raises(OSError, match="what a library means"):
        tiny.qrecipe("validate", "a.yaml")


def test_in_silence_a_sweep_says_which_run_a_notice_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    listen = noticing()
    for text in ("run 1 of 2 (a): done already", "1 of 2 runs are done, about 9 s left", "run 2 of 2 (b)"):
        listen(Noted("sweep", text, progress=True))
    listen(Noted("model", "building", progress=True))
    for note in ("its weights are random", "so is its head"):
        listen(Noted("model", note))
    listen(Noted("sweep", "run 3 of 3 (c)", progress=True))
    listen(Noted("sweep", "run 3 of 3 (c) failed: error"))
    listen(Noted("model", "after it"))
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.splitlines() == [
        "sweep: run 2 of 2 (b)",
        "model: its weights are random",
        "model: so is its head",
        "sweep: run 3 of 3 (c) failed: error",
        "model: after it",
    ]
