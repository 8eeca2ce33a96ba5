"""From a student to a file that other runtimes run, and back to detections from that file alone."""

from .mode import ExportMode
from .student import Exported, export_student

__all__ = ["ExportMode", "Exported", "export_student"]
