"""``qrecipe apply``: the whole walk, in phases that a killed run can pick up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.batch import Batch
from ..errors import TrainError
from ..plan import Plan, cost_of
from ..recipe.definition import Recipe
from ..recipe.dump import dump
from ..report.pictures import save_detections
from ..run.folder import RunFolder
from ..run.summary import Summary, SummaryRow
from ..run.checkpoint import load_weights
from ..student import CalibrationReport, Student, calibrate, make_student, real_valued
from ..student.store import save_student
from ..train.denormals import set_flushed
from ..train.loop import BEST, LAST, fit
from ..train.module import TrainingModule
from ..train.protocols import Watcher
from .score import score_student
from .workshop import Say, Workshop

STUDENT = "student"
CONTROL = "control"
TEACHER = "teacher"


@dataclass
class Walk:
    """One run of a recipe in a run folder.

    watcher: makes a training's progress display from the phase's name. resume: continue what is there.
    """

    workshop: Workshop
    run: RunFolder
    say: Say
    watcher: Watcher
    resume: bool

    @property
    def recipe(self) -> Recipe:
        return self.workshop.recipe

    def walk(self) -> Summary:
        """Teacher, calibration, training, control, test; each phase is recorded when it is through."""
        recipe, run = self.recipe, self.run
        student = make_student(self.workshop.source, recipe)
        run.write_plan(student.plan.to_json())
        quantized = bool(student.plan.quantizers)
        self._say_plan(student.plan)
        teacher = make_student(self.workshop.teacher_source, real_valued(recipe, targets=True)).eval()
        module = TrainingModule(student, teacher if recipe.distill.targets else None)
        run.phase("teacher", lambda: self._score(teacher, "val", "teacher" if quantized else "start"))
        if quantized or student.plan.alignments:
            self._calibrate(student)
        trained = self._train(module, STUDENT)
        save_student(student, run.path / STUDENT)
        if quantized and recipe.train.control and recipe.train.epochs:
            control = make_student(self.workshop.teacher_source, real_valued(recipe))
            self._train(TrainingModule(control), CONTROL)
            save_student(control, run.path / CONTROL)
        summary = self._summary(student, teacher, quantized, trained)
        run.finish(summary)
        return summary

    def _say_plan(self, plan: Plan) -> None:
        cost = cost_of(plan)
        sites = [site for site in plan.sites.values() if site.quantizer]
        self.say(
            f"plan: {len(sites)} of {len(plan.sites)} sites quantized by {len(plan.quantizers)} quantizers; "
            f"{cost.float_bytes / 1e6:.2f} MB -> {cost.bytes / 1e6:.2f} MB; operations / "
            f"{cost.macs / max(cost.operations, 1):.2f}"
        )
        if plan.alignments:
            self.say(f"plan: {len(plan.alignments)} decoder queries aligned, {len(plan.taps)} values tapped")

    def _score(self, student: Student, split: str, name: str) -> dict[str, Any]:
        loader = self.workshop.batches(split, _map(student), student.input, train=False)
        evaluation, _ = score_student(student, loader, self.workshop, split)
        scores = evaluation.to_dict()
        self.say(f"{split}: {name}: AP {evaluation.AP:.3f}, AP50 {evaluation.AP50:.3f}")
        return scores

    def _calibrate(self, student: Student) -> None:
        """Calibrated weights are a checkpoint of their own, so that a resumed run starts from the very same ranges."""
        folder = self.run.path / "calibrated"
        done = "calibration" in self.run.phases()
        if done:
            load_weights(folder, student)
            return
        spec = self.recipe.quantize.calibration
        loader = self.workshop.batches(
            "train", _map(student), student.input, train=False, batch_size=spec.batch_size
        )
        batches: list[Batch] = []
        for batch in loader:
            if len(batches) >= spec.batches:
                break
            batches.append(batch)
        report = calibrate(student, batches)
        self._say_calibration(report)
        save_student(student, folder)
        self.run.finish_phase("calibration", report.to_dict())
        self.run.phase("calibrated", lambda: self._score(student, "val", "student after calibration"))

    def _say_calibration(self, report: CalibrationReport) -> None:
        self.say(f"calibration: {report.quantizers} ranges from {report.images} images")
        for layer, (query, logits) in report.alignments.items():
            moved = "" if logits is None else f", the attention logits by {logits:.1%}"
            self.say(f"calibration: aligning decoder layer {layer} changes the query's energy by {query:.1%}{moved}")

    def _train(self, module: TrainingModule, phase: str) -> dict[str, Any]:
        recipe, run, student = self.recipe, self.run, module.student
        folder = run.checkpoints(phase)
        if phase not in run.phases() and recipe.train.epochs:
            result = fit(
                module,
                self.workshop.batches("train", _map(student), student.input, train=True),
                recipe.train,
                folder=folder,
                seed=recipe.seed,
                evaluate=lambda: self._evaluation(student),
                is_backbone=student.is_backbone,
                watcher=self.watcher,
                metrics=run.metrics,
                phase=phase,
                resume=self.resume,
            )
            run.finish_phase(phase, {"best_epoch": result.best_epoch, "best_ap": result.best_ap})
        if not recipe.train.epochs:
            return {}
        best = folder / BEST if (folder / BEST).exists() else folder / LAST
        load_weights(best, student)
        student.set_stage(recipe.train.stages[-1].quantize)
        done = run.phases()[phase]
        if done["best_ap"] is not None:
            epochs = recipe.train.epochs
            self.say(f"{phase}: the best of {epochs} epochs is {done['best_epoch']} (val AP {done['best_ap']:.3f})")
        return dict(done)

    def _evaluation(self, student: Student) -> Any:
        loader = self.workshop.batches("val", _map(student), student.input, train=False)
        return score_student(student, loader, self.workshop, "val")[0]

    def _summary(self, student: Student, teacher: Student, quantized: bool, trained: Mapping[str, Any]) -> Summary:
        """Touch the test split once, with every model that the run has, and write down what came out."""
        split = "test" if "test" in self.workshop.data else "val"
        scores = self.run.phase("test", lambda: self._test(student, teacher, quantized, split))
        cost, real = cost_of(student.plan), cost_of(teacher.plan)
        rows = []
        for name, result in scores.items():
            own = cost if name in ("calibrated", "trained") else real
            if name == "control":
                own = real
            rows.append(
                SummaryRow(
                    name,
                    {key: value for key, value in result.items() if key != "per_class"},
                    result.get("per_class", {}),
                    own.bytes,
                    own.operations,
                )
            )
        notes = [] if split == "test" else ["the recipe names no test split: these scores are from val, which selected"]
        notes += student.plan.notes
        return Summary(self.recipe.name, split, tuple(rows), tuple(notes))

    def _test(self, student: Student, teacher: Student, quantized: bool, split: str) -> dict[str, Any]:
        found = {"teacher": self._score(teacher, split, "teacher" if quantized else "start")}
        recipe, run = self.recipe, self.run
        if quantized:
            if (run.path / CONTROL).exists():
                control = make_student(self.workshop.teacher_source, real_valued(recipe))
                load_weights(run.path / CONTROL, control)
                found["control"] = self._score(control, split, "control")
            calibrated = make_student(self.workshop.source, recipe)
            load_weights(run.path / "calibrated", calibrated)
            found["calibrated"] = self._score(calibrated, split, "student after calibration")
        if recipe.train.epochs:
            loader = self.workshop.batches(split, _map(student), student.input, train=False)
            evaluation, results = score_student(student, loader, self.workshop, split)
            self.say(f"{split}: student after training: AP {evaluation.AP:.3f}, AP50 {evaluation.AP50:.3f}")
            found["trained"] = evaluation.to_dict()
            picture = save_detections(self.workshop.data[split], results, run.path / "detections.png")
            self.say(f"picture: {picture}")
        return found


def _map(student: Student) -> Any:
    assert student.label_map is not None
    return student.label_map


def apply(
    recipe: Recipe, folder: Path, *, say: Say, watcher: Watcher, resume: bool = False, random_weights: bool = False
) -> Summary:
    """Run a recipe into ``folder`` and return what came out.

    A finished run of the same recipe is not repeated: its summary is returned as it is.

    Raises:
        RunError: the folder holds something else, or an unfinished run and ``resume`` is False.
        QRecipeError: whatever the recipe, the data or the model has wrong with it.
    """
    set_flushed(True)
    source, text = dict(recipe.source), dump(recipe.source)
    if (folder / "summary.json").exists():
        with RunFolder.resume(folder, recipe=source, text=text) as run:
            say(f"this run is finished already: {folder}")
            return run.summary()
    opened = RunFolder.resume if resume else RunFolder.create
    workshop = Workshop(recipe, _splits(recipe), say, random_weights)
    _ = workshop.data, workshop.built  # what is wrong with them is said before a folder is made
    with opened(folder, recipe=source, text=text) as run:
        return Walk(workshop, run, say, watcher, resume).walk()


def _splits(recipe: Recipe) -> tuple[str, ...]:
    if recipe.data.format == "coco" and recipe.data.train is None:
        raise TrainError("apply needs a training and a validation split", where="data.train")
    return ("train", "val", "test") if recipe.data.format != "coco" or recipe.data.test else ("train", "val")
