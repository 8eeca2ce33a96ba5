"""What a pass says it did, held against what the plan expects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PassReport:
    """Counts over both programs. ``expected`` comes from the plan, ``done`` from the graphs after the pass."""

    name: str
    done: int
    expected: int
    what: str
