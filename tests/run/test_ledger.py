"""Measurements that outlive the command that made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrecipe.errors import RunError
from qrecipe.run.ledger import LINES, SETTINGS, Ledger

WHAT = {"recipe": {"version": 1}, "images": [1, 2]}


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with Ledger(folder, WHAT) as ledger:
        assert ledger.recall(["distance", {"a": 4}]) is None
        ledger.keep(["distance", {"b": 8, "a": 4}], {"total": 0.1})
        assert ledger.recall(["distance", {"a": 4, "b": 8}]) == {"total": 0.1}
    with Ledger(folder, WHAT) as again:
        assert again.recall(["distance", {"a": 4, "b": 8}]) == {"total": 0.1}


def test_a_torn_line_is_measured_again(tmp_path: Path) -> None:
    with Ledger(tmp_path, WHAT) as ledger:
        ledger.keep("one", 1)
        ledger.keep("two", 2)
    lines = tmp_path / LINES
    lines.write_bytes(lines.read_bytes()[:-5])
    with Ledger(tmp_path, WHAT) as ledger:
        assert (ledger.recall("one"), ledger.recall("two")) == (1, None)
        ledger.keep("two", 3)
    with Ledger(tmp_path, WHAT) as ledger:
        assert ledger.recall("two") == 3


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, WHAT).close()
    with pytest.raises(RunError, match="measurements of other settings: images differ"):
        Ledger(tmp_path, {**WHAT, "images": [3]})
    Ledger(tmp_path, WHAT).close()  # the folder was given back


def test_other_code_is_refused(tmp_path: Path) -> None:
    """What an earlier version measured is not shown beside what this one measures."""
    Ledger(tmp_path, WHAT).close()
    settings = tmp_path / SETTINGS
    known = json.loads(settings.read_text())
    for key in ("code of qrecipe", "version of torch"):
        settings.write_text(json.dumps({**known, key: "another"}))
        with pytest.raises(RunError, match=f"measurements of other settings: {key} differ"):
            Ledger(tmp_path, WHAT)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else"):
        Ledger(tmp_path, WHAT)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path, WHAT), pytest.raises(RunError, match="another process"):
        Ledger(tmp_path, WHAT)


@pytest.mark.parametrize("line", ['{"key": 3, "value": 1}', '{"key": "a"}', "[]", "nothing"])
def test_damage_is_said(tmp_path: Path, line: str) -> None:
    Ledger(tmp_path, WHAT).close()
    (tmp_path / LINES).write_text(line + "\n")
    with pytest.raises(RunError, match=f"{LINES}:1"):
        Ledger(tmp_path, WHAT)
    (tmp_path / SETTINGS).write_text(json.dumps([1]))
    with pytest.raises(RunError, match="other settings"):
        Ledger(tmp_path, WHAT)
