"""What a budget limits, as a share of what the real-valued model has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import SearchError
from ..planning import Cost

BUDGETS: Mapping[str, Callable[[Cost], float]] = {
    "size": lambda cost: cost.bytes / max(cost.float_bytes, 1),
    "operations": lambda cost: cost.operations / max(cost.macs, 1),
    "bit_operations": lambda cost: cost.bit_operations / max(cost.macs * 32 * 32, 1),
}
"""What can be limited: bytes of the stored model, operations, bit operations. ``docs/method.md`` defines them."""


@dataclass(frozen=True)
class Budget:
    """kind: a key of ``BUDGETS``. limit: the largest share of the real-valued model's, 0..1.

    Raises: SearchError: no such kind, or a limit that is no share.
    """

    kind: str
    limit: float

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS:
            raise SearchError(f"there is no budget of {self.kind!r}", remedy=f"one of {', '.join(BUDGETS)}")
        if not 0 < self.limit <= 1:
            remedy = "a share of what the real-valued model has, such as 0.2"
            raise SearchError(f"a budget of {self.limit:g} {self.kind} cannot be", remedy=remedy)

    @classmethod
    def read(cls, text: str) -> Budget:
        """``size=0.15``. Raises: SearchError."""
        kind, _, number = text.partition("=")
        try:
            return cls(kind, float(number))
        except ValueError:
            raise SearchError(f"{text!r} is no budget", remedy="write it as size=0.15") from None

    def share(self, cost: Cost) -> float:
        """What a cost has of the real-valued model's."""
        return BUDGETS[self.kind](cost)

    def __str__(self) -> str:
        return f"{self.kind}={self.limit:g}"
