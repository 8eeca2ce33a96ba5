"""Measurements that are kept as they are made, so that a command that was cut off goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RunError
from .environment import code_versions
from .files import read_json, write_json, writing
from .lines import JsonLines
from .lock import RunLock

SETTINGS, LINES = "settings.json", "measurements.jsonl"


class Ledger:
    """Measurements by key, in a folder of their own that one process at a time writes.

    Args:
        folder: made if it is not there.
        settings: everything that measurements depend on but the code, as plain data. A folder with measurements of
            other settings, or by other code, is refused.

    Raises:
        RunError: the folder holds something else, or another process writes it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            others = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
        path, wanted = folder / SETTINGS, json.loads(json.dumps({**settings, **code_versions()}))
        if SETTINGS not in others and others:
            raise RunError("holds something else", where=str(folder), remedy="choose another --output")
        self._lock = RunLock(folder)
        try:
            if path.exists():
                self._check(read_json(path), wanted)
            else:
                write_json(path, wanted)
            self._lines = JsonLines(folder / LINES)
            self._known = self._read()
        except BaseException:
            self._lock.release()
            raise

    def _check(self, found: Any, wanted: Mapping[str, Any]) -> None:
        if found == wanted:
            return
        known = found if isinstance(found, dict) else {}
        differing = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
        raise RunError(
            f"holds measurements of other settings: {', '.join(differing)} differ",
            where=str(self.folder),
            remedy="choose another --output",
        )

    def _read(self) -> dict[str, Any]:
        known: dict[str, Any] = {}
        for number, record in enumerate(self._lines.read(), start=1):
            if not isinstance(record.get("key"), str) or "value" not in record:
                raise RunError("this line is no measurement", where=f"{self.folder / LINES}:{number}")
            known[record["key"]] = record["value"]
        return known

    def recall(self, key: Any) -> Any:
        """What was measured under a key, plain data of any kind; None if nothing was."""
        return self._known.get(_name(key))

    def keep(self, key: Any, value: Any) -> None:
        """Raises: RunError: the folder cannot be written."""
        self._known[_name(key)] = value
        self._lines.append({"key": _name(key), "value": value})

    def close(self) -> None:
        """Give the folder back."""
        self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _name(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
