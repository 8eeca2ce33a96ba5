"""From a module to two verified graphs, or to one screen that says why not."""

from .capture import capture
from .switches import settled_switches
from .verify import Agreement, verify
from .wrapper import Call

__all__ = ["Agreement", "Call", "capture", "settled_switches", "verify"]
