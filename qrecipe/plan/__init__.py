"""What will be done to a captured model, as data."""

from .anatomy import Anatomy, LayerQuery, ModuleNode, RoleShare, TapPoint, anatomy
from .breakdown import Part, RealValued, by_module, by_role, real_macs, real_valued, whole
from .build import WhichModel, build_plan
from .collapse import Repeated, at_depth, collapse, ranges
from .compare import Comparison, KeyChange, SiteChange, Total
from .cost import Cost, cost_of
from .describe import DEPTH, describe
from .plan import Decision, Plan, PlannedAlignment, PlannedOperation, PlannedTap, Product, Site

__all__ = [
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
    "RealValued",
    "Repeated",
    "RoleShare",
    "Site",
    "SiteChange",
    "TapPoint",
    "Total",
    "WhichModel",
    "anatomy",
    "at_depth",
    "build_plan",
    "by_module",
    "by_role",
    "collapse",
    "cost_of",
    "describe",
    "ranges",
    "real_macs",
    "real_valued",
    "whole",
]
