"""Captures kept on disk: read where one was made of the same model before, written once it is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..code_age import noting_loads
from ..graph.captured import Captured
from .entry import DamagedEntry, Entry, capture_from_plain, capture_to_plain
from .folder import captures_folder, entry_path, used, write_entry
from .key import Key, key_of
from .plain import Unkeepable
from .sources import code_of, file_checksum, files_that_run, loaded_from


class KeptCapture:
    """The place of one model's capture. Whatever is wrong with it, a capture is made anew: nothing here raises.

    notes: what the user should know of it, in sentences.

    Args:
        as of ``key_of``.
    """

    def __init__(
        self,
        model: nn.Module,
        call: Callable[..., Any],
        inputs: Mapping[str, Tensor],
        code: Iterable[str] = (),
        largest: int | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._model = model
        self._ran: set[str] = set()
        self._key: Key | None = None
        try:
            self._key = key_of(model, call, inputs, code, largest)
        except Unkeepable as reason:
            self._not_kept(str(reason))

    def read(self) -> Captured | None:
        """The capture, if there is one of this very model."""
        if self._key is None:
            return None
        path = entry_path(self._key.text)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.notes.append(f"made anew: {path} cannot be read: {error.strerror or error}")
            return None
        try:
            entry = Entry.from_bytes(data)
            if entry.key != self._key.text:
                raise DamagedEntry("it is of another model")
            if any(file_checksum(file) != checksum for file, checksum in entry.files.items()):
                return None  # code that only runs inside of the model has changed
            found = capture_from_plain(entry.data, self._model)
        except DamagedEntry as problem:
            self.notes.append(f"made anew: {path} is of no use: {problem}")
            return None
        used(path)
        self.notes.append(f"as an earlier command has kept it in {captures_folder()}")
        return found

    def refuse(self) -> None:
        """What was read is not what the model computes now."""
        self.notes[-1] = f"made anew: what is kept in {captures_folder()} is not what the model computes now"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notes which code runs inside, which is all that the model runs."""
        if self._key is None:
            yield
            return
        with noting_loads(), files_that_run() as ran:
            yield
        self._ran |= ran

    def write(self, captured: Captured) -> None:
        """Keep a capture that was verified."""
        if self._key is None:
            return
        try:
            modules = {*self._key.modules, *(module.__name__ for module in loaded_from(self._ran))}
            _, files, _ = code_of(modules)
            more = {file: checksum for file, checksum in files.items() if file not in self._key.files}
            entry = Entry(self._key.text, more, capture_to_plain(captured))
            data = entry.to_bytes()
            self._require_equal(data, entry)
            write_entry(entry_path(self._key.text), data)
        except Unkeepable as reason:
            self._not_kept(str(reason))
        except OSError as error:
            self._not_kept(f"{captures_folder()} cannot be written: {error.strerror or error}")

    def _require_equal(self, data: bytes, entry: Entry) -> None:
        """What comes back is what was kept. Raises: Unkeepable: not so."""
        try:
            again = Entry.from_bytes(data)
            if capture_to_plain(capture_from_plain(again.data, self._model)) == entry.data:
                return
        except DamagedEntry as problem:
            raise Unkeepable(f"it cannot be read back: {problem}") from problem
        raise Unkeepable("it is not the same when it is read back")

    def _not_kept(self, reason: str) -> None:
        self.notes.append(f"not kept for the next command, because {reason}")
