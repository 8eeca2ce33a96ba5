"""The phases of a run as data: one ordered list, which a killed run goes through again and picks up where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import QRecipeError
from ..launched import is_first
from ..planning import describe
from ..processes import from_first, gathered, take_over
from ..run.checkpoint import load_weights
from ..run.files import WriteError
from ..run.layout import BEST, LAST, PICTURE
from ..student import Student, calibrate, save
from ..student.store import description
from ..train.average import take_average
from ..train.module import TrainingModule
from ..train.records import Records
from ..train.trainer import Trainer
from .detector import score, student_detector
from .events import BestChosen, Calibrated, Noted, PhaseEnded, PhaseStarted, PictureDrawn, Planned
from .experiment import Experiment
from .gather_evidence import gather_evidence
from .memory import enough_for
from .reconstruction import reconstruct_student
from .summarise import stopped_early, summarise, summary_split


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    name: its key in ``phases.json``. needs: phases that come before it, as it reads what they left.
    applies: whether a run of this recipe has it. work: does it; what it returns is plain data, and recorded.
    restore: of a phase that is recorded already: puts in place what later phases read.
    recorded: False of work that is done anew at every start.
    """

    name: str
    needs: tuple[str, ...]
    work: Callable[[Experiment], Any]
    applies: Callable[[Experiment], bool] = lambda experiment: True
    restore: Callable[[Experiment, Any], None] = lambda experiment, result: None
    recorded: bool = True


def run_phases(experiment: Experiment, phases: Sequence[Phase] | None = None) -> None:
    """Go through phases, by default all of ``PHASES``; those that are recorded in the run folder are not repeated.

    Raises:
        ValueError: one needs another that does not come before it.
        QRecipeError: whatever the recipe, the data or a model has wrong with it.
    """
    chosen = PHASES if phases is None else tuple(phases)
    check_order(chosen)
    run, listener = experiment.run, experiment.listener
    for phase in chosen:
        if not phase.applies(experiment):
            continue
        done = run.phases() if phase.recorded else {}
        listener(PhaseStarted(phase.name, phase.name in done))
        if phase.name in done:
            result = done[phase.name]
            phase.restore(experiment, result)
        else:
            with enough_for(phase.name, experiment.recipe):
                result = phase.work(experiment)
            if phase.recorded:
                result = from_first(partial(run.finish_phase, phase.name, result))
            gathered(None)  # what the first process has written is there for all
        listener(PhaseEnded(phase.name, result))


def check_order(phases: Sequence[Phase]) -> None:
    """Raises: ValueError: a phase needs another that does not come before it."""
    before: set[str] = set()
    for phase in phases:
        missing = [name for name in phase.needs if name not in before]
        if missing:
            raise ValueError(f"the phase {phase.name} needs {', '.join(missing)} before it")
        before.add(phase.name)


def _plan(experiment: Experiment) -> None:
    plan = experiment.student.plan
    experiment.run.write_plan(describe(plan))
    experiment.listener(Planned(plan))


def _teacher(experiment: Experiment) -> Any:
    teacher = experiment.teacher
    _ = experiment.module  # what does not fit is said before anything is evaluated
    return experiment.score(teacher, "val", experiment.first)[0].to_dict()


def _calibrate(experiment: Experiment) -> Any:
    """Calibrated weights are a checkpoint of their own, so that a resumed run starts from the very same ranges."""
    student = experiment.student
    report = calibrate(student, experiment.calibration_batches(student))
    take_over(list(student.state_dict().values()))
    experiment.listener(Calibrated(report))
    save(student, experiment.folder("calibrated"))
    return report.to_dict()


def _load_calibrated(experiment: Experiment, result: Any) -> None:
    load_weights(experiment.folder("calibrated"), experiment.student)


def _score_calibrated(experiment: Experiment) -> Any:
    return experiment.score(experiment.student, "val", "calibrated")[0].to_dict()


def _load_reconstructed(experiment: Experiment, result: Any) -> None:
    load_weights(experiment.folder("reconstructed"), experiment.student)


def _score_reconstructed(experiment: Experiment) -> Any:
    return experiment.score(experiment.student, "val", "reconstructed")[0].to_dict()


def _train_student(experiment: Experiment) -> Any:
    result = _trained(experiment, experiment.module, "student")
    _take_best(experiment, experiment.student, "student", result)
    return result


def _restore_student(experiment: Experiment, result: Any) -> None:
    _take_best(experiment, experiment.student, "student", result)


def _keep_student(experiment: Experiment) -> None:
    save(experiment.student, experiment.folder("trained"))


def _train_control(experiment: Experiment) -> Any:
    control = experiment.make_control()
    took = experiment.run.phases().get("student", {}).get("epochs")  # of both, where patience ended the student's
    result = _trained(experiment, TrainingModule(control), "control", took)
    _take_best(experiment, control, "control", result)
    save(control, experiment.folder("control"))
    return result


def _restore_control(experiment: Experiment, result: Any) -> None:
    _tell_best(experiment, "control", result)


def _trained(
    experiment: Experiment, module: TrainingModule, phase: str, stop_after: int | None = None
) -> dict[str, Any]:
    """Train ``module.student`` through all epochs, or so many of them; which is the best, and how many were taken."""
    recipe, run, student = experiment.recipe, experiment.run, module.student
    # Best is chosen among epochs of the last stage, and a checkpoint's ranges are all on until it is told.
    extra = {**description(student), "quantized_roles": recipe.train.stages[-1].quantize}
    trainer = Trainer(
        module,
        experiment.batches(student, recipe.train.batch_size, train=True),
        recipe.train,
        Records(run.checkpoints(phase), phase, run.metrics, extra, {"smoke_test": True} if recipe.limits else {}),
        seed=recipe.seed,
        evaluate=lambda student: score(student_detector(student), experiment.workspace, "val")[0],
        is_backbone=student.is_backbone,
        listener=experiment.listener,
        stop_after=stop_after,
    )
    result = trainer.fit(experiment.resume)
    return {"best_epoch": result.best_epoch, "best_ap": result.best_ap, "epochs": result.epochs}


def _take_best(experiment: Experiment, student: Student, phase: str, result: dict[str, Any]) -> None:
    """Give a student the best epoch's weights, or the last's where nothing could be compared."""
    name = LAST if result["best_epoch"] is None else BEST
    take_average(student, load_weights(experiment.run.checkpoints(phase) / name, student))
    student.set_stage(experiment.recipe.train.stages[-1].quantize)
    _tell_best(experiment, phase, result)


def _tell_best(experiment: Experiment, phase: str, result: dict[str, Any]) -> None:
    planned = experiment.recipe.train.epochs
    epochs = result.get("epochs", planned)
    if epochs < planned:
        experiment.listener(Noted(phase, stopped_early(epochs, experiment.recipe)))
    if result["best_epoch"] is not None:
        experiment.listener(BestChosen(phase, result["best_epoch"], epochs, result["best_ap"]))
    else:
        text = f"warning: no epoch could be compared on val, so the last of {epochs} is kept"
        experiment.listener(Noted(phase, text))


def _test(experiment: Experiment) -> Any:
    """Touch the test split once, with every model that the run has: scores by row of the summary.

    The last model's detections are drawn.
    """
    split = summary_split(experiment)
    models = {experiment.first: experiment.teacher}
    if experiment.has_control:
        models["control"] = experiment.make_control()
    if experiment.quantizes:
        models["calibrated"] = experiment.make_student()
    if experiment.reconstructs:
        models["reconstructed"] = experiment.make_student()
    for row, model in models.items():
        if row != experiment.first:
            load_weights(experiment.folder(row), model)
    if experiment.trains:
        models["trained"] = experiment.student
    found: dict[str, Any] = {}
    results: list[dict[str, Any]] = []
    for row, model in models.items():
        evaluation, results = experiment.score(model, split, row)
        found[row] = evaluation.to_dict()
        if is_first() and evaluation.matches is not None:
            experiment.run.write_matches(row, evaluation.matches.to_bytes())
    if experiment.draw is not None and is_first():
        path = experiment.draw(experiment.workspace.data[split], results, experiment.run.path / PICTURE)
        experiment.listener(PictureDrawn(path))
    return found


def _gather(experiment: Experiment) -> Any:
    """For the page alone: what goes wrong here is told, and ends no run."""
    if not is_first():
        return None
    try:
        return gather_evidence(experiment, experiment.student, experiment.last)
    except WriteError:
        raise
    except Exception as problem:  # of models as they come; the run is through but for its pictures
        reason = str(problem) if isinstance(problem, QRecipeError) else f"{type(problem).__name__}: {problem}"
        experiment.listener(Noted("evidence", f"warning: not gathered: {reason}"))
        return {"failed": reason}


def _summarise(experiment: Experiment) -> None:
    experiment.run.finish(summarise(experiment, experiment.run.phases()["test"]))


PHASES: tuple[Phase, ...] = (
    Phase("plan", (), _plan, recorded=False),
    Phase("teacher", ("plan",), _teacher),
    Phase("calibration", ("plan",), _calibrate, lambda run: run.quantizes, _load_calibrated),
    Phase("calibrated", ("calibration",), _score_calibrated, lambda run: run.quantizes),
    Phase("reconstruction", ("calibrated",), reconstruct_student, lambda run: run.reconstructs, _load_reconstructed),
    Phase("reconstructed", ("reconstruction",), _score_reconstructed, lambda run: run.reconstructs),
    Phase("student", ("calibration",), _train_student, lambda run: run.trains, _restore_student),
    Phase("kept", ("calibration", "student"), _keep_student, recorded=False),
    Phase("control", ("plan",), _train_control, lambda run: run.has_control, _restore_control),
    Phase("test", ("calibration", "student", "control"), _test),
    Phase("evidence", ("calibration", "student"), _gather, lambda run: run.evidence and run.quantizes),
    Phase("summary", ("test",), _summarise, recorded=False),
)
"""All phases of a run, in their order."""
