"""``qrecipe apply``: the whole walk into a run folder, or a look at a run that is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..experiment.events import Listener, nobody
from ..experiment.run_recipe import run_recipe
from ..recipe.definition import Recipe
from ..recipe.given import read_recipe, smoke_test
from ..report.page.render import can_render
from ..report.pictures import save_detections
from ..run.layout import RUNS
from ..run.summary import Summary
from .report import with_page


@dataclass(frozen=True)
class Applied:
    """A finished run: the folder that keeps it, and the figures it ended with."""

    folder: Path
    summary: Summary

    def to_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "summary": self.summary.to_dict()}


def apply(
    recipe: Recipe | Path | str,
    output: Path | str | None = None,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    hash_images: bool = False,
    limit: int | None = None,
    epochs: int | None = None,
    overrides: Sequence[str] = (),
    random_weights: bool = False,
    listener: Listener = nobody,
) -> Applied:
    """Run a recipe: calibrate, train, evaluate, and keep everything in a run folder, with a page of it.

    A finished run of the same recipe is not repeated: its summary is returned as it is, and nothing is written.

    Args:
        recipe: a file, or what ``load_recipe`` gives.
        output: the run folder; by default the recipe's ``output``, else ``runs/NAME``.
        resume: go on with a run that was cut off.
        accept_changes: go on although annotations, images or weights are not those that the run was started with.
        hash_images: know images by their content, not by size and time of their files.
        limit, epochs: for a smoke test, which is marked as one: the first so many images of each split
            (``data.limit``), and at most so many epochs of each stage (``train.limit``).
        overrides: such as ``train.epochs=1``. random_weights: leave the recipe's weights out.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    read = read_recipe(recipe, (*overrides, *smoke_test(limit, epochs)), random_weights)
    folder = Path(output or read.output or RUNS / read.name).resolve()
    draw = partial(save_detections, grey_range=read.model.input.grey_range)
    summary = run_recipe(
        read,
        folder,
        resume=resume,
        accept_changes=accept_changes,
        hash_images=hash_images,
        listener=with_page(listener),
        draw=draw,
        evidence=can_render(),
    )
    return Applied(folder, summary)
