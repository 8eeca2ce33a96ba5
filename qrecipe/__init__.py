"""qrecipe: compile any detection transformer into a quantized, distilled student from a YAML recipe.

    import qrecipe

    recipe = qrecipe.load_recipe("recipes/detr_r50_w4a4.yaml")
    student = qrecipe.compile(model, recipe)

Names are looked up on first use, so that ``import qrecipe`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .data.batch import Batch
    from .errors import QRecipeError, RecipeErrors
    from .recipe import Recipe, load_recipe, recipe_from_mapping
    from .student import Student, calibrate, compile, load, real_valued, save
    from .train.module import TrainingModule

_HOMES = {
    "Batch": "data.batch",
    "QRecipeError": "errors",
    "Recipe": "recipe",
    "RecipeErrors": "errors",
    "Student": "student",
    "TrainingModule": "train.module",
    "calibrate": "student",
    "compile": "student",
    "load": "student",
    "load_recipe": "recipe",
    "real_valued": "student",
    "recipe_from_mapping": "recipe",
    "save": "student",
}

__all__ = [
    "Batch",
    "QRecipeError",
    "Recipe",
    "RecipeErrors",
    "Student",
    "TrainingModule",
    "calibrate",
    "compile",
    "load",
    "load_recipe",
    "real_valued",
    "recipe_from_mapping",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qrecipe' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
