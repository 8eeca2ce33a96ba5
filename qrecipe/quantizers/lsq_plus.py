"""LSQ with an offset."""

from __future__ import annotations

from typing import final

from .affine import AffineQuantizer


@final
class LSQPlus(AffineQuantizer):
    """Scale and offset train. Source: Bhalgat et al., LSQ+ (CVPRW 2020)."""

    title = "LSQ+"
    learned = True

    def own_initialiser(self) -> str:
        return "output"
