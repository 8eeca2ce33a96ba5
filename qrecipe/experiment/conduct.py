"""A whole run of a recipe, from its data to its summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import QRecipeError
from ..recipe.definition import SPLITS, Recipe
from ..recipe.dump import dump
from ..run.folder import RunFolder
from ..run.layout import is_finished
from ..run.summary import Summary
from ..termination import Terminated
from ..train.denormals import flushed_denormals
from .as_made import as_made
from .events import Listener, RunEnded, RunStarted, nobody
from .experiment import Draw, Experiment
from .phases import run_phases
from .workspace import Workspace


def conduct(
    recipe: Recipe, folder: Path, *, resume: bool = False, listener: Listener = nobody, draw: Draw | None = None
) -> Summary:
    """Run a recipe into ``folder`` and return what came out.

    A finished run of the same recipe is not repeated: its summary is returned as it is, and nothing is written.

    Args:
        resume: go on with a run that was cut off. draw: makes the run's picture.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
        Terminated: a signal was heard, where ``termination.listening`` is around; the training step is whole and kept.
    """
    resolved, text = dict(recipe.resolved), dump(recipe.resolved)
    if is_finished(folder):
        run = RunFolder.read(folder)
        run.check_recipe(resolved)
        summary = run.summary()
        listener(RunEnded(folder, summary, already=True))
        return summary
    if resume:
        RunFolder.check_resumable(folder, resolved)
        recipe = as_made(recipe, folder)
    else:
        RunFolder.check_free(folder)
    workspace = Workspace(recipe, _splits(recipe), listener)
    opened = RunFolder.resume if resume else RunFolder.create
    with flushed_denormals():
        _ = workspace.data
        workspace.check_training()  # what is wrong with data and model is said before a folder is made
        with opened(folder, recipe=resolved, text=text) as run, _saying_how_to_go_on():
            listener(RunStarted(folder, resolved, resume))
            run_phases(Experiment(workspace, run, resume, draw))
            summary = run.summary()
    listener(RunEnded(folder, summary))
    return summary


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    """What ends a run that is in its folder already says that it can be continued."""
    try:
        yield
    except Terminated as signal:
        signal.remedy = "continue the run with --resume"
        raise
    except QRecipeError as error:
        if error.passing:
            error.remedy = f"{error.remedy}; then continue the run with --resume"
        raise


def _splits(recipe: Recipe) -> tuple[str, ...]:
    data = recipe.data
    if data.format != "coco":
        return SPLITS
    for name, split in (("train", data.train), ("val", data.val)):
        if split is None:
            raise recipe.error(("data", name), f"apply needs a {name} split", "name its images and annotations")
    return SPLITS if data.test else ("train", "val")
