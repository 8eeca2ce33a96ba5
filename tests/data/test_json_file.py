"""Files that are no json, or hold what no variable can: one message each, and never a wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qrecipe.data.json_file import Repeated, Unheld, read_json_file, unreadable
from qrecipe.errors import DataError


def read(path: Path) -> Any:
    return read_json_file(path, "the file", "name another")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"[1, 1.0, true, null]", [1, 1.0, True, None]),
        ("\ufeff[1]".encode(), [1]),
        ("[1]".encode("utf-16"), [1]),
        (b"[NaN, Infinity, -Infinity]", [Unheld("NaN"), Unheld("Infinity"), Unheld("-Infinity")]),
        (b"[1e999, -1e999, 1e-999]", [Unheld("1e999"), Unheld("-1e999"), 0.0]),
        (b"[" + b"9" * 100_000 + b"]", [Unheld("9" * 100_000)]),
        (b'["\\ud800"]', ["\ud800"]),
    ],
)
def test_values(tmp_path: Path, content: bytes, value: object) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert read(tmp_path / "a.json") == value


def test_keys_that_are_given_twice(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    inner = read(tmp_path / "a.json")["a"]
    assert isinstance(inner, Repeated)
    assert (dict(inner), inner.twice) == ({"b": 3, "c": 2}, ("b",))


def test_keys_that_nobody_reads_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [{"b": 1, "long": [1, 2], "b": 2}], "long": {"a": 1}}')
    value = read_json_file(tmp_path / "a.json", "the file", "name another", keep=frozenset("ab"))
    assert value == {"a": [{"b": 2}]}
    assert value["a"][0].twice == ("b",)


@pytest.mark.parametrize(
    ("text", "value"),
    [("[1e999, 0.1, 12]", [float("inf"), 0.1, 12]), ("[NaN]", [Unheld("NaN")]), ("[" + "9" * 5000 + "]", None)],
)
def test_a_hasty_reading_differs_in_numbers_that_cannot_be_held(tmp_path: Path, text: str, value: Any) -> None:
    (tmp_path / "a.json").write_text(text)
    found = read_json_file(tmp_path / "a.json", "the file", "name another", exact=False)
    assert found == (read(tmp_path / "a.json") if value is None else value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not json: Expecting value: line 1 column 1 (char 0); it is empty"),
        (b"<!DOCTYPE html>\n<p>", '; it begins with "<!DOCTYPE html>\\n<p>"'),
        (b"version https://git-lfs", '; it begins with "version https://git-lfs"'),
        (b"\x1b[31m", '; it begins with "\\x1b[31m"'),
        (b'{"a": \xff}', "is not json: byte 7 is no UTF-8"),
        (b"[" * 200_000, "is nested too deeply to be read"),
        (b'{"a":' * 200_000, "is nested too deeply to be read"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json")
    assert caught.value.what.startswith("the file ")
    assert message in caught.value.what
    assert (caught.value.where, caught.value.remedy) == (str(tmp_path / "a.json"), "name another")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "is missing"),
        ("file/below", "is missing"),
        ("folder", "is a folder"),
        ("pipe", "is not an ordinary file"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("a\0b", "is missing: its name is none that a file can have"),
        ("\ud800", "is missing: its name is none that a file can have"),
        ("circle", "cannot be read: Too many levels of symbolic links"),
        ("file", None),
    ],
)
def test_paths_that_cannot_be_read(tmp_path: Path, name: str, reason: str | None) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # without a writer, whoever opens it waits for ever
    (tmp_path / "file").write_text("1")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert unreadable(tmp_path / name) == reason
    if reason is None:
        assert read(tmp_path / name) == 1
    else:
        with pytest.raises(DataError, match=f"the file {reason}"):
            read(tmp_path / name)


@pytest.mark.parametrize("call", ["stat", "read_bytes"])
def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    (tmp_path / "a.json").write_text("1")

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(DataError, match="the file cannot be read: Permission denied"):
        read(tmp_path / "a.json")
