"""All values within the range."""

from __future__ import annotations

from typing import final

from .affine import AffineQuantizer


@final
class MinMax(AffineQuantizer):
    """The range of what calibration saw; nothing trains."""

    title = "min-max"
    learned = False

    def own_initialiser(self) -> str:
        return "minmax"
