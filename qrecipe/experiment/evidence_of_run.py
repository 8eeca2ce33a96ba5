"""Gathering a run's evidence anew, from the models that it keeps."""

from __future__ import annotations

from pathlib import Path

from ..errors import RunError
from ..recipe import recipe_from_mapping
from ..run.checkpoint import has_checkpoint, load_weights
from ..run.folder import RunFolder
from ..run.layout import MODELS
from ..run.summary import STUDENTS
from ..train.denormals import flushed_denormals
from .events import Listener, Noted, nobody
from .experiment import Experiment
from .gather_evidence import gather_evidence
from .inputs import changes, inputs_of
from .stored_input import with_input_of_run
from .workspace import Workspace


@flushed_denormals()
def evidence_of_run(path: Path, cache: bool = True, listener: Listener = nobody) -> None:
    """Build the teacher and the furthest student that a run keeps, and write what its page shows into its folder.

    Args:
        cache: whether a capture that an earlier command has kept will do, and a new one is kept.

    Raises:
        RunError: it has no student, or none yet. QRecipeError: its data or its weights are not there.
    """
    run = RunFolder.read(path)
    recipe = with_input_of_run(recipe_from_mapping(run.recipe()), path)
    row = next((name for name in STUDENTS if has_checkpoint(path / MODELS[name])), None)
    if row is None:
        raise RunError("the run has no student yet", where=str(path), remedy="continue it with --resume")
    workspace = Workspace(recipe, ("val",), listener, cache=cache)
    before = run.inputs()
    for line in () if before is None else changes(before, inputs_of(workspace), workspace):
        listener(Noted("run", f"warning: not what it was started with: {line}"))
    experiment = Experiment(workspace, run)
    if not experiment.quantizes:
        raise RunError("nothing in this run is quantized: it has no student to look into", where=str(path))
    student = experiment.student
    student.set_stage(load_weights(path / MODELS[row], student).extra["quantized_roles"])
    gather_evidence(experiment, student, row)
