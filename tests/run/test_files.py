from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.errors import RunError
from qrecipe.run import files
from qrecipe.run.files import read_json, write_atomically, write_json
from qrecipe.run.lines import JsonLines


class Killed(BaseException):
    """Stands in for kill -9."""


@pytest.mark.parametrize("name", ["write_synced", "replace", "sync_folder"])
@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_file_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"v": 1})

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Path if name == "replace" else files, name, fail)
        with pytest.raises((Killed, RunError)) as caught:
            write_json(path, {"v": 2})
    if isinstance(error, OSError):
        assert "the disk is full" in str(caught.value)
        assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    assert read_json(path) == {"v": 2 if name == "sync_folder" else 1}
    write_json(path, {"v": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_messages_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere/x.json: cannot be written: No such file"):
        write_atomically(tmp_path / "nowhere" / "x.json", b"")
    with pytest.raises(RunError, match=r"x\.json: the file is missing"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(RunError, match=r"x\.json: is not JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path)


def test_lines_come_back(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    assert lines.read() == []
    records: list[dict[str, Any]] = [{"epoch": 1, "name": "Größe\u2028 x"}, {"epoch": 2, "val": None}]
    for record in records:
        lines.append(record)
    assert lines.read() == records
    assert lines.keep(lambda r: r["epoch"] > 1) == records[1:]
    assert lines.read() == records[1:]


@settings(max_examples=30)
@given(cut=st.integers(1, 25), again=st.booleans())
def test_a_torn_last_line(tmp_path_factory: pytest.TempPathFactory, cut: int, again: bool) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "m.jsonl")
    for epoch in (1, 2):
        lines.append({"epoch": epoch, "loss": 0.123456})
    whole = lines.path.read_bytes()
    lines.path.write_bytes(whole[:-cut])
    assert [r["epoch"] for r in lines.read()] == [1]
    if again:
        lines.append({"epoch": 2, "loss": 0.123456})
        assert lines.path.read_bytes() == whole


def test_a_bad_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"b\n{"c": 1}\n')
    with pytest.raises(RunError, match=r"m\.jsonl:2: this line is no JSON object"):
        JsonLines(path).read()
    path.write_text("[1]\n")
    with pytest.raises(RunError, match=r"m\.jsonl:1:"):
        JsonLines(path).read()


def test_a_disk_that_fills_up_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.append({"epoch": 1})
    real: Callable[..., Any] = os.fsync

    def fail(handle: int) -> None:
        os.ftruncate(handle, lines.path.stat().st_size - 4)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="the disk is full"):
        lines.append({"epoch": 2})
    monkeypatch.setattr(os, "fsync", real)
    assert lines.read() == [{"epoch": 1}]
    lines.append({"epoch": 2})
    assert lines.read() == [{"epoch": 1}, {"epoch": 2}]


def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    write_json(path, {"v": 1})

    def short(self: Path, *_: Any, **__: Any) -> io.BufferedWriter:
        raise OSError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", short)
        with pytest.raises(RunError, match=r"plan\.json: cannot be written: Permission denied"):
            write_json(path, {"v": 2})
    assert json.loads(path.read_text()) == {"v": 1}
