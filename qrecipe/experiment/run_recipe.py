"""A whole run of a recipe, from its data to its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import QRecipeError, RecipeErrors, RunError
from ..launched import is_first
from ..processes import from_first
from ..recipe.definition import SPLITS, Recipe
from ..recipe.dump import dump
from ..recipe.tracker_table import absent_trackers
from ..run.folder import RunFolder
from ..run.free_keys import batches_of_step
from ..run.layout import is_finished
from ..run.summary import Summary
from ..termination import Terminated
from ..train.denormals import flushed_denormals
from ..train.device import joined
from .events import Listener, Noted, RunEnded, RunStarted, nobody
from .experiment import Draw, Experiment
from .inputs import changes, inputs_of
from .phases import run_phases
from .shares import require_shares
from .stored_input import with_input_of_run
from .tracked import tracked
from .workspace import Workspace


def run_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    hash_images: bool = False,
    cache: bool = True,
    listener: Listener = nobody,
    draw: Draw | None = None,
    evidence: bool = False,
) -> Summary:
    """Run a recipe into ``folder`` and return what came out.

    A finished run of the same recipe is not repeated: its summary is returned as it is, and nothing is written.

    Args:
        resume: go on with a run that was cut off. draw: makes the run's picture.
        evidence: keep what the run's page shows of a few images, of quantizers and of queries.
        accept_changes: go on although annotations, images or weights are not those that the run was started with.
        hash_images: know images by their content, not by size and time of their files.
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False, or a resumed run finds
            other data or weights.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
        Terminated: a signal was heard, where ``termination.listening`` is around; the training step is whole and kept.
    """
    with joined():
        own = listener if is_first() else nobody
        return _run(recipe, folder, resume, accept_changes, hash_images, cache, own, draw, evidence)


def _run(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    accept_changes: bool,
    hash_images: bool,
    cache: bool,
    listener: Listener,
    draw: Draw | None,
    evidence: bool,
) -> Summary:
    """Every process goes through this; the first one writes and is listened to."""
    resolved, text = dict(recipe.resolved), dump(recipe.resolved)
    if absent := tuple(absent_trackers(recipe)):
        raise RecipeErrors(absent)
    if recipe.train.epochs:
        require_shares(recipe, ("train", "batch_size"), recipe.train.batch_size)
    if from_first(lambda: is_finished(folder)):
        run = RunFolder.read(folder)
        run.check_recipe(resolved)
        summary = run.summary()
        listener(RunEnded(folder, summary, already=True))
        return summary
    if resume:
        from_first(lambda: RunFolder.check_resumable(folder, resolved))
        recipe = with_input_of_run(recipe, folder)
    else:
        from_first(lambda: RunFolder.check_free(folder))
    workspace = Workspace(recipe, _splits(recipe), listener, cache=cache)
    with flushed_denormals():
        _ = workspace.data  # by all
        inputs = from_first(lambda: inputs_of(workspace, hash_images))
        known = resume and from_first(lambda: _check_inputs(RunFolder.read(folder), inputs, workspace, accept_changes))
        workspace.check_training()  # what is wrong with data and model is said before a folder is made
        with _opened(folder, resume, resolved, text) as run, _saying_how_to_go_on():
            if not known and is_first():
                run.write_inputs(inputs)
            listener(RunStarted(folder, resolved, resume))
            for note in _notes(run, resolved):
                listener(Noted("run", note))
            names = recipe.train.trackers if is_first() else ()
            with tracked(names, run, resolved, listener) as workspace.listener:
                run_phases(Experiment(workspace, run, resume, draw, evidence))
            summary = run.summary()
    listener(RunEnded(folder, summary))
    return summary


def _opened(folder: Path, resume: bool, resolved: Mapping[str, Any], text: str) -> RunFolder:
    """The folder, locked by the first process; the others follow it."""
    made: list[RunFolder] = []
    opened = RunFolder.resume if resume else RunFolder.create
    from_first(lambda: made.append(opened(folder, recipe=resolved, text=text)))
    return made[0] if made else RunFolder.follow(folder)


def _check_inputs(run: RunFolder, inputs: Mapping[str, Any], workspace: Workspace, accept: bool) -> bool:
    """Whether the run was started with the very same.

    Raises:
        RunError: it was not, and that is not accepted.
    """
    before = run.inputs()
    found = [] if before is None else changes(before, inputs, workspace)
    if found and not accept:
        raise RunError(
            "not what this run was started with:\n  " + "\n  ".join(found),
            where=str(run.path),
            remedy="put it back, choose another --output, or go on with what is there now by --accept-changes",
        )
    for line in found:
        workspace.listener(Noted("run", f"warning: not what it was started with: {line}"))
    return before is not None and not found


def _notes(run: RunFolder, recipe: Mapping[str, Any]) -> Iterator[str]:
    """In what this start differs from the first."""
    (size, parts), (own_size, own_parts) = batches_of_step(run.recipe()), batches_of_step(recipe)
    if (size, parts) != (own_size, own_parts):
        yield (
            f"warning: it was started with steps of {parts} x {size} images and goes on with {own_parts} x {own_size}: "
            "sums are taken in another order, and random numbers (dropout, denoising) are others"
        )
    starts = run.starts()
    first, now = starts[0].get("processes", 1), starts[-1].get("processes", 1)
    if first != now:
        yield (
            f"warning: it was started with {first} process{'es'[: 2 * (first != 1)]} and goes on with {now}: sums are "
            "taken in another order, and random numbers (dropout, denoising) are others"
        )
    first, now = starts[0].get("threads"), starts[-1].get("threads")
    if first != now:
        yield (
            f"warning: it was started with {first} threads and goes on with {now}; sums are taken in another order, "
            f"and results differ from those of one number (OMP_NUM_THREADS={first})"
        )


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
            error.remedy = f"{error.remedy or 'mend that'}; then continue the run with --resume"
        raise


def _splits(recipe: Recipe) -> tuple[str, ...]:
    data = recipe.data
    if data.format != "coco":
        return SPLITS
    for name, split in (("train", data.train), ("val", data.val)):
        if split is None:
            raise recipe.error(("data", name), f"apply needs a {name} split", "name its images and annotations")
    return SPLITS if data.test else ("train", "val")
