"""The integers a quantizer can write."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import RecipeError

FEWEST_BITS = 2
MOST_BITS = 8


@dataclass(frozen=True)
class Grid:
    """Signed integers of ``bits`` bits: lo = -2^(bits-1) to hi = 2^(bits-1) - 1, both included.

    ``hi`` is LSQ's Q_p. Real numbers are x_hat = scale * (integer - zero point).

    Raises: RecipeError unless 2 <= bits <= 8.
    """

    bits: int

    def __post_init__(self) -> None:
        if not FEWEST_BITS <= self.bits <= MOST_BITS:
            raise RecipeError(
                f"a quantizer cannot have {self.bits} bits",
                remedy=f"give {FEWEST_BITS} to {MOST_BITS} bits, or keep the operand float",
            )

    @property
    def lo(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def hi(self) -> int:
        return (1 << (self.bits - 1)) - 1
