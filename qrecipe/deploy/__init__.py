"""From a student to a file that other runtimes run, and back to detections from that file alone."""

from .metadata import input_of_size
from .mode import ExportFormat, ExportMode
from .opened import OpenedFile, alone, open_file, prepared_sizes, read_metadata, require_size
from .parity import TOLERANCE, Parity
from .student import Exported, export_student

__all__ = [
    "TOLERANCE",
    "ExportFormat",
    "ExportMode",
    "Exported",
    "OpenedFile",
    "Parity",
    "alone",
    "export_student",
    "input_of_size",
    "open_file",
    "prepared_sizes",
    "read_metadata",
    "require_size",
]
