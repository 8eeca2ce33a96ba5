"""What will be done to a captured model, as data."""

from .build import build_plan
from .cost import Cost, cost_of
from .plan import Plan, PlannedAlignment, PlannedOperation, PlannedTap, Product, Site

__all__ = [
    "Cost",
    "Plan",
    "PlannedAlignment",
    "PlannedOperation",
    "PlannedTap",
    "Product",
    "Site",
    "build_plan",
    "cost_of",
]
