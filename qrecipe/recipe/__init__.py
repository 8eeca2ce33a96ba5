"""Recipes: the YAML language, its schema, and the frozen dataclasses that everything else reads."""

from __future__ import annotations

from .definition import (
    AlignSpec,
    CalibrationSpec,
    DataSpec,
    DistillSpec,
    InputSpec,
    KeyPath,
    LossSpec,
    Mark,
    MatchSpec,
    ModelSpec,
    OptimizerSpec,
    QuantizerSpec,
    QuantizeSpec,
    Recipe,
    ReconstructSpec,
    Rule,
    ScheduleSpec,
    SplitSpec,
    Spot,
    StageSpec,
    SyntheticSpec,
    TargetSpec,
    TrainSpec,
    TransformSpec,
    WeightsSource,
    WholeSpec,
    dotted,
)
from .document import LocatedError
from .dump import dump
from .load import load_recipe, recipe_from_mapping
from .quantizer_table import default_offset
from .schema_file import schema

__all__ = [
    "AlignSpec",
    "CalibrationSpec",
    "DataSpec",
    "DistillSpec",
    "InputSpec",
    "KeyPath",
    "LocatedError",
    "LossSpec",
    "Mark",
    "MatchSpec",
    "ModelSpec",
    "OptimizerSpec",
    "QuantizeSpec",
    "QuantizerSpec",
    "Recipe",
    "ReconstructSpec",
    "Rule",
    "ScheduleSpec",
    "SplitSpec",
    "Spot",
    "StageSpec",
    "SyntheticSpec",
    "TargetSpec",
    "TrainSpec",
    "TransformSpec",
    "WeightsSource",
    "WholeSpec",
    "default_offset",
    "dotted",
    "dump",
    "load_recipe",
    "recipe_from_mapping",
    "schema",
]
