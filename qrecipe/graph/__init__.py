"""A model as editable graphs: capture, structure, and the module that runs them."""

from .capture import Call, Captured, capture
from .face import STRUCTURES, Face, QueryPoint, Structure
from .graph_model import GraphModel
from .verify import Agreement, verify

__all__ = [
    "STRUCTURES",
    "Agreement",
    "Call",
    "Captured",
    "Face",
    "GraphModel",
    "QueryPoint",
    "Structure",
    "capture",
    "verify",
]
