"""A file of JSON lines that only grows, such as ``metrics.jsonl``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RunError
from .files import DAMAGED, json_bytes, parsed, write_atomically, writing


class JsonLines:
    """One JSON object per line.

    A kill can tear the last line: without its newline it does not count. Reading leaves it out, appending removes it.
    """

    def __init__(self, path: Path, follows: bool = False) -> None:
        """follows: another process writes the file, and this one only reads."""
        self.path = path
        self._follows = follows

    def append(self, record: Mapping[str, Any]) -> None:
        """Raises: RunError: the line cannot be written."""
        if self._follows:
            return
        line = json_bytes(record)
        with writing(self.path), self.path.open("ab") as file:
            whole = self._whole(self.path.read_bytes())
            if file.tell() > len(whole):
                file.truncate(len(whole))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; an absent file has none.

        Raises:
            RunError: a line that is no JSON object.
        """
        try:
            whole = self._whole(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot be read: {error.strerror or error}", where=str(self.path)) from error
        records: list[dict[str, Any]] = []
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                record = parsed(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise RunError("this line is no JSON object", where=f"{self.path}:{number}", remedy=DAMAGED)
            records.append(record)
        return records

    def keep(self, wanted: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
        """Drop the other lines from the file; returns those that stay."""
        records = self.read()
        kept = [record for record in records if wanted(record)]
        if len(kept) != len(records) and not self._follows:
            write_atomically(self.path, b"".join(json_bytes(record) for record in kept))
        return kept

    @staticmethod
    def _whole(data: bytes) -> bytes:
        return data[: data.rfind(b"\n") + 1]
