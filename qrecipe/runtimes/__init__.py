"""Programs that run an ONNX file, behind one face: ``find_runtime(name).open(file).run(arrays)``."""

from .needs import need
from .runtime import Array, Operator, Runtime, Session
from .table import DEFAULT, RUNTIMES, find_runtime

__all__ = ["DEFAULT", "RUNTIMES", "Array", "Operator", "Runtime", "Session", "find_runtime", "need"]
