"""What will be done to a captured model, as data."""

from .build import WhichModel, build_plan
from .cost import Cost, cost_of
from .plan import CHOSEN, Decision, Plan, PlannedAlignment, PlannedOperation, PlannedTap, Product, Site
from .problems import check
from .targets import taken_by_alignment
from .views.anatomy import Anatomy, LayerQuery, ModuleNode, RoleShare, TapPoint, anatomy
from .views.breakdown import Part, Unquantized, by_module, by_role, real_macs, unquantized, whole
from .views.collapse import Repeated, at_depth, collapse, ranges
from .views.compare import Comparison, KeyChange, SiteChange, Total
from .views.describe import DEPTH, describe

__all__ = [
    "CHOSEN",
    "DEPTH",
    "Anatomy",
    "Comparison",
    "Cost",
    "Decision",
    "KeyChange",
    "LayerQuery",
    "ModuleNode",
    "Part",
    "Plan",
    "PlannedAlignment",
    "PlannedOperation",
    "PlannedTap",
    "Product",
    "Repeated",
    "RoleShare",
    "Site",
    "SiteChange",
    "TapPoint",
    "Total",
    "Unquantized",
    "WhichModel",
    "anatomy",
    "at_depth",
    "build_plan",
    "by_module",
    "by_role",
    "check",
    "collapse",
    "cost_of",
    "describe",
    "ranges",
    "real_macs",
    "taken_by_alignment",
    "unquantized",
    "whole",
]
