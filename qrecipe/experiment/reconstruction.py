"""The phase of a run that reconstructs: block by block, then the whole network, as the recipe says."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..processes import gathered, take_over
from ..reconstruct import BlockReport, Imitation, ReconstructSettings, reconstruct
from ..run.checkpoint import Checkpoint, has_checkpoint, load_weights, save_checkpoint
from ..run.layout import LAST
from ..student import Student, save
from ..student.store import description
from ..train.imitate import imitate
from ..train.records import Records
from .events import BlockReconstructed
from .experiment import Experiment
from .shares import require_shares

WHOLE = "whole"
"""The folder of its checkpoints."""
PHASE = "reconstruction"


def reconstruct_student(experiment: Experiment) -> dict[str, Any]:
    """Start from what is calibrated, and keep the student. What an earlier start did is taken up where it was.

    Returns: the blocks' reports, and the optimizer's epochs over the whole network.
    """
    spec = experiment.recipe.quantize.reconstruct
    assert spec is not None
    real = experiment.make_student()
    load_weights(experiment.folder("calibrated"), real)
    found: dict[str, Any] = {}
    if spec.iterations is not None:
        found["blocks"] = [report.to_dict() for report in _blocks(experiment, real)]
    if spec.whole.steps:
        found["whole"] = _whole(experiment, real)
    take_over(list(experiment.student.state_dict().values()))
    save(experiment.student, experiment.folder("reconstructed"))
    return found


def _blocks(experiment: Experiment, real: Student) -> list[BlockReport]:
    """Each block that is done is a checkpoint: a run that is cut off goes on with the next one."""
    student, spec = experiment.student, experiment.recipe.quantize.reconstruct
    assert spec is not None
    assert spec.iterations is not None
    folder = experiment.run.checkpoints(PHASE) / LAST
    done: list[BlockReport] = []
    if has_checkpoint(folder):
        done = [BlockReport(**report) for report in load_weights(folder, student).extra["blocks"]]
    reports = list(done)
    gathered(None)  # nothing is written before all have read

    def keep(report: BlockReport, number: int, total: int) -> None:
        reports.append(report)
        blocks = [one.to_dict() for one in reports]
        save_checkpoint(folder, Checkpoint(student.state_dict(), extra={**description(student), "blocks": blocks}))
        experiment.listener(BlockReconstructed(report, number, total))

    batches = list(islice(experiment.batches(student, spec.batch_size, train=False), spec.batches))
    settings = ReconstructSettings(spec.iterations, 1 - spec.drop, experiment.recipe.seed)
    return reconstruct(student, batches, settings, real=real, done=done, on_block=keep)


def _whole(experiment: Experiment, real: Student) -> dict[str, Any]:
    recipe, run, student = experiment.recipe, experiment.run, experiment.student
    spec = recipe.quantize.reconstruct
    assert spec is not None
    assert student.label_map is not None
    require_shares(recipe, ("quantize", "reconstruct", "whole", "batch_size"), spec.whole.batch_size)
    loader = experiment.workspace.unlabelled(student.label_map, student.input, spec.whole.batch_size, spec.whole.images)
    marks = {"smoke_test": True} if recipe.limits else {}
    records = Records(run.checkpoints(WHOLE), PHASE, run.metrics, description(student), marks)
    module = Imitation(student, real)
    result = imitate(
        module, loader, spec, records, seed=recipe.seed, resume=experiment.resume, listener=experiment.listener
    )
    return {"epochs": result.epochs, "images": len(loader.batches.dataset)}
