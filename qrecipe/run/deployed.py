"""What ``export`` and ``bench`` found of a run's student: its files beside it, and their latencies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .layout import BENCH, EXPORTS
from .seal import read_sealed, write_sealed


def keep_export(run: Path, found: Mapping[str, Any]) -> None:
    """Add a file to those of the run, in place of an earlier one of the same path.

    Raises:
        RunError: what is there is damaged, or it cannot be written.
    """
    others = [one for one in exports_of(run) if one["path"] != found["path"]]
    write_sealed(run / EXPORTS, {"files": [*others, found]})


def exports_of(run: Path) -> list[dict[str, Any]]:
    """As ``Exported.to_dict`` has them, in their order. Raises: RunError: it is damaged."""
    found: list[dict[str, Any]] = read_sealed(run / EXPORTS)["files"] if (run / EXPORTS).exists() else []
    return found


def keep_bench(run: Path, found: Mapping[str, Any]) -> None:
    """Keep the latencies, in place of earlier ones. Raises: RunError: it cannot be written."""
    write_sealed(run / BENCH, found)


def bench_of(run: Path) -> dict[str, Any] | None:
    """As ``Benched.to_dict`` has it; None where nothing was measured. Raises: RunError: it is damaged."""
    return read_sealed(run / BENCH) if (run / BENCH).exists() else None
