"""The range of least squared error."""

from __future__ import annotations

from typing import final

from .affine import AffineQuantizer


@final
class LeastSquares(AffineQuantizer):
    """The range that fits what calibration saw best; nothing trains."""

    title = "least squares"
    learned = False

    def own_initialiser(self) -> str:
        return "mse"
