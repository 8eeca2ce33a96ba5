"""``qrecipe apply``: the whole walk into a run folder, or a look at a run that is finished."""

from __future__ import annotations

from pathlib import Path

from ..experiment.walk import Walk
from ..experiment.workspace import Say, Workspace
from ..recipe.definition import SPLITS, Recipe
from ..recipe.dump import dump
from ..run.folder import RunFolder
from ..run.layout import is_finished
from ..run.summary import Summary
from ..train.denormals import flushed_denormals
from ..train.protocols import Watcher


def apply(recipe: Recipe, folder: Path, *, say: Say, watcher: Watcher, resume: bool = False) -> Summary:
    """Run a recipe into ``folder`` and return what came out.

    A finished run of the same recipe is not repeated: its summary is returned as it is, and nothing is written.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    source, text = dict(recipe.source), dump(recipe.source)
    if is_finished(folder):
        run = RunFolder.read(folder)
        run.check_recipe(source)
        summary = run.summary()
        say("this run is finished already, and is not repeated")
        return summary
    if resume:
        RunFolder.check_resumable(folder, source)
    else:
        RunFolder.check_free(folder)
    workspace = Workspace(recipe, _splits(recipe), say)
    opened = RunFolder.resume if resume else RunFolder.create
    with flushed_denormals():
        _ = workspace.data, workspace.built  # what is wrong with them is said before a folder is made
        with opened(folder, recipe=source, text=text) as run:
            return Walk(workspace, run, say, watcher, resume).walk()


def _splits(recipe: Recipe) -> tuple[str, ...]:
    data = recipe.data
    if data.format != "coco":
        return SPLITS
    for name, split in (("train", data.train), ("val", data.val)):
        if split is None:
            raise recipe.error(("data", name), f"apply needs a {name} split", "name its images and annotations")
    return SPLITS if data.test else ("train", "val")
