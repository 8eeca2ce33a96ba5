"""From a module to two verified graphs, or to one screen that says why not."""

from .capture import capture
from .export import Call
from .verify import Agreement, verify

__all__ = ["Agreement", "Call", "capture", "verify"]
