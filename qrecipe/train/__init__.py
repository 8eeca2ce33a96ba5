"""Training: the loop, its optimizer and schedule, and checkpoints."""

from __future__ import annotations

from ..run.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, load_weights, save_checkpoint
from .denormals import flushed_denormals
from .loop import FitResult, fit
from .optimizer import ParameterGroup, build_optimizer
from .protocols import Loader, Progress, Scores, Trainable, Watcher
from .schedule import lr_multiplier

__all__ = [
    "Checkpoint",
    "FitResult",
    "Loader",
    "ParameterGroup",
    "Progress",
    "Scores",
    "Trainable",
    "Watcher",
    "build_optimizer",
    "fit",
    "flushed_denormals",
    "has_checkpoint",
    "load_checkpoint",
    "load_weights",
    "lr_multiplier",
    "save_checkpoint",
]
