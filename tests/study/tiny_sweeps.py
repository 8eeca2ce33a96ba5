"""Sweeps of runs that take a second each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import tiny_commands as tiny


@dataclass(frozen=True)
class Carried:
    """A sweep that went through: its file, the folder of its runs, and what it printed."""

    file: Path
    folder: Path
    out: str


def write_sweep(folder: Path, seeds: Sequence[int], also: Any = None) -> Path:
    """A sweep file beside its base, of one epoch without a control."""
    tiny.recipe(folder / "base.yaml", train={"epochs": 1, "batch_size": 8, "optimizer": {"lr": 1.0e-3}})
    file = folder / "tiny.yaml"
    variants = also or {"plain": {"distill": None}}
    file.write_text(yaml.safe_dump({"base": "base.yaml", "also": variants, "seeds": list(seeds)}, sort_keys=False))
    return file
