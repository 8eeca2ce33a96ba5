"""Experiment trackers that a recipe may name (``train.trackers``), and the packages that each needs one of."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from ..errors import RecipeError
from .definition import Recipe

TRACKERS: dict[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}


def absent_trackers(recipe: Recipe) -> Iterator[RecipeError]:
    """An error for each tracker that the recipe asks for and that is not installed here."""
    for place, name in enumerate(recipe.train.trackers):
        if all(find_spec(package) is None for package in TRACKERS[name]):
            remedy = f"pip install {TRACKERS[name][0]}, or remove it: metrics.jsonl has all that it is told"
            yield recipe.error(("train", "trackers", place), f"{name} is not installed", remedy)
