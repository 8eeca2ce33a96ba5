"""Reconstruction: weights' rounding and activations' ranges are learned block by block, without labels."""

from .optimise import ReconstructSettings
from .reconstruct import BlockReport, reconstruct

__all__ = ["BlockReport", "ReconstructSettings", "reconstruct"]
