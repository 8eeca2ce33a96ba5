"""How each kind of detector is fed, read and trained; the families are the rows of ``table.py``."""

from .base import Family, Labels
from .find import build_family, family_of_type, find_family, known_family
from .table import FAMILIES, FamilyRow, architectures, prompted, published_classes, resnets

__all__ = [
    "FAMILIES",
    "Family",
    "FamilyRow",
    "Labels",
    "architectures",
    "build_family",
    "family_of_type",
    "find_family",
    "known_family",
    "prompted",
    "published_classes",
    "resnets",
]
