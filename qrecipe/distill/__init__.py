"""Distribution rectification distillation (Q-DETR): query alignment, foreground matching, the loss."""

from __future__ import annotations

from ..processes import global_divisor, global_mean
from ..recipe.distill_table import LOSSES, MATCHERS
from .alignment import AlignmentMode, QueryAlignment
from .anneal import remaining
from .features import TapLayout, query_features
from .losses import distill_loss
from .matching import Match, all_match, foreground_match, match_queries, same_match, whole_images
from .projection import WidthProjection
from .widths import check_widths

__all__ = [
    "LOSSES",
    "MATCHERS",
    "AlignmentMode",
    "Match",
    "QueryAlignment",
    "TapLayout",
    "WidthProjection",
    "all_match",
    "check_widths",
    "distill_loss",
    "foreground_match",
    "global_divisor",
    "global_mean",
    "match_queries",
    "query_features",
    "remaining",
    "same_match",
    "whole_images",
]
