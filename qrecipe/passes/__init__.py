"""The rewrites that turn a captured model into a student: one small pass in a file each, in one list."""

from .pipeline import PASSES, run_passes
from .rewrite import Condition, Pass, PassReport

__all__ = ["PASSES", "Condition", "Pass", "PassReport", "run_passes"]
