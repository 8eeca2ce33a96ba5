"""A pass: a rewrite of a captured model, what holds before it and after it, and what it says that it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph.captured import Captured
from ..planning.plan import Plan


@dataclass(frozen=True)
class PassReport:
    """Counts over both programs. ``expected`` comes from the plan, ``done`` from the graphs after the pass."""

    name: str
    done: int
    expected: int
    what: str


@dataclass(frozen=True)
class Condition:
    """Something that holds of both programs, or not.

    what: in words. broken: where it does not hold, in words; None where it holds.
    """

    what: str
    broken: Callable[[Captured, Plan], str | None]


@dataclass(frozen=True)
class Pass:
    """A rewrite with its conditions; it edits both programs in place, and adds its parts to their root."""

    run: Callable[[Captured, Plan], PassReport]
    requires: tuple[Condition, ...] = ()
    ensures: tuple[Condition, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__name__
