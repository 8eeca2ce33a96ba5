"""The quantizers a recipe can name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What tells one quantizer from another.

    title: as papers spell it.
    learned: whether scale and offset train (LSQ's gradients); else they stay as calibrated.
    weight, activation: the initialiser where the recipe names none, a row of ``INITIALISERS``.
    """

    title: str
    learned: bool
    weight: str
    activation: str


QUANTIZERS: dict[str, Kind] = {
    "lsq": Kind("LSQ", learned=True, weight="lsq", activation="lsq"),
    "lsq+": Kind("LSQ+", learned=True, weight="lsq+", activation="lsq+"),
    "minmax": Kind("min-max", learned=False, weight="minmax", activation="minmax"),
    "mse": Kind("least squares", learned=False, weight="mse", activation="mse"),
}
