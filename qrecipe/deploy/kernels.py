"""Which products of a file a runtime computes in integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kernels:
    """What a runtime makes of a file's products.

    integer: names of those that it computes in integers. floating: the others, with the reason where one is known.
    operators: its integer operators by kind.
    """

    runtime: str
    version: str
    integer: tuple[str, ...]
    floating: Mapping[str, str]
    operators: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {
            "runtime": self.runtime,
            "version": self.version,
            "integer": list(self.integer),
            "float": dict(self.floating),
            "operators": dict(self.operators),
        }

    def lines(self) -> list[str]:
        """For the user: counts, and what stays float, alike ones together."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.operators.items())
        total = len(self.integer) + len(self.floating)
        behind = f": {kinds}" if kinds else ""
        head = f"{self.runtime} {self.version} computes {len(self.integer)} of {total} quantized products in integers"
        found = [head + behind]
        for reason in Counter(self.floating.values()):
            names = [name for name, own in self.floating.items() if own == reason]
            found.append(f"in float{f', {reason}' if reason else ''}: {', '.join(names)}")
        return found
