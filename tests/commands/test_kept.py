"""What cannot be kept in a run folder is told, and ends nothing."""

from __future__ import annotations

from qrecipe.commands.kept import kept_in_run
from qrecipe.errors import RunError
from qrecipe.experiment.events import Event, Noted


def test_a_folder_that_cannot_be_written_is_told_of() -> None:
    def refuse() -> None:
        raise RunError("cannot be written: Read-only file system", where="run/bench.json")

    told: list[Event] = []
    kept_in_run(refuse, told.append)
    (note,) = told
    assert isinstance(note, Noted)
    assert note.text.startswith("warning: not kept for its page: ")
    assert "Read-only" in note.text
