"""Learned step size quantization."""

from __future__ import annotations

from typing import final

from .affine import AffineQuantizer


@final
class LSQ(AffineQuantizer):
    """Symmetric, with a scale that trains. Source: Esser et al., LSQ (ICLR 2020)."""

    title = "LSQ"
    learned = True

    def own_initialiser(self) -> str:
        return "output"
