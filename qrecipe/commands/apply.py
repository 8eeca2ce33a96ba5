"""``qrecipe apply``: the whole walk into a run folder, or a look at a run that is finished."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..experiment.conduct import conduct
from ..experiment.events import Listener, nobody
from ..recipe.definition import Recipe
from ..report.pictures import save_detections
from ..run.summary import Summary


def apply(recipe: Recipe, folder: Path, *, listener: Listener = nobody, resume: bool = False) -> Summary:
    """Run a recipe into ``folder`` and return what came out.

    A finished run of the same recipe is not repeated: its summary is returned as it is, and nothing is written.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    draw = partial(save_detections, grey_range=recipe.model.input.grey_range)
    return conduct(recipe, folder, resume=resume, listener=listener, draw=draw)
