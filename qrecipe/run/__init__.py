"""The run folder: what a run writes, and how it goes on after a kill."""

from __future__ import annotations

from .environment import describe_environment
from .folder import RunFolder
from .summary import Summary, SummaryRow

__all__ = ["RunFolder", "Summary", "SummaryRow", "describe_environment"]
