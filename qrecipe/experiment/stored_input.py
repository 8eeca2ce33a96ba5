"""The input of a run's model is what it was made with, whatever its weights' folder says by now."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..recipe.definition import Recipe
from ..run.checkpoint import has_checkpoint, load_checkpoint
from ..run.kept import offering_earlier
from ..run.layout import BEST, CHECKPOINTS, LAST, MODELS
from ..student.store import read_input


def with_input_of_run(recipe: Recipe, run: Path) -> Recipe:
    """The recipe of a run with the input that its model was given, where a checkpoint of the run tells it.

    Raises:
        TrainError: the checkpoint is damaged.
    """
    training = run / CHECKPOINTS / "student"
    saved = [run / MODELS[name] for name in ("trained", "calibrated")]
    return with_input_of(recipe, [*saved, training / LAST, training / BEST])


def with_input_of(recipe: Recipe, folders: Sequence[Path]) -> Recipe:
    """The same with the input of the first folder that holds a checkpoint which names one.

    Beside other weights than those of a folder or the hub nothing is stored that could have changed.
    """
    weights = recipe.model.weights
    if weights is None or (weights.folder is None and weights.hub is None):
        return recipe
    for folder in folders:
        if not has_checkpoint(folder):
            continue
        with offering_earlier(folder):
            values = load_checkpoint(folder).extra.get("input")
        if values:
            own = read_input(values)
            # Absent would mean what is stored beside the weights; this is the same as none.
            mean, std = own.mean or (0.0, 0.0, 0.0), own.std or (1.0, 1.0, 1.0)
            model = dataclasses.replace(recipe.model, input=dataclasses.replace(own, mean=mean, std=std))
            return dataclasses.replace(recipe, model=model)
    return recipe
