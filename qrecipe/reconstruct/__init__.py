"""Reconstruction without labels: block by block, and of the whole network at once."""

from .imitation import Imitation
from .optimise import ReconstructSettings
from .reconstruct import BlockReport, reconstruct

__all__ = ["BlockReport", "Imitation", "ReconstructSettings", "reconstruct"]
