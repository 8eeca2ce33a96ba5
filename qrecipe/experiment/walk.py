"""The walk of ``qrecipe apply``, in phases that a killed run can pick up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..data.loader import BatchLoader
from ..evaluate import Evaluation
from ..plan import Cost, Plan, cost_of, describe
from ..recipe.definition import Recipe
from ..report.amounts import amount, size, three_places
from ..report.pictures import save_detections
from ..run.checkpoint import load_weights
from ..run.folder import RunFolder
from ..run.layout import BEST, LAST, MODELS, PICTURE
from ..run.summary import ROWS, Summary, SummaryRow
from ..student import CalibrationReport, Student, calibrate, make_student, real_valued
from ..student.store import description, save
from ..train.loop import fit
from ..train.module import TrainingModule
from ..train.protocols import Watcher
from .detector import score, student_detector
from .workspace import Say, Workspace


@dataclass
class Walk:
    """One run of a recipe in a run folder. resume: continue what is there."""

    workspace: Workspace
    run: RunFolder
    say: Say
    watcher: Watcher
    resume: bool

    @property
    def recipe(self) -> Recipe:
        return self.workspace.recipe

    def walk(self) -> Summary:
        """Teacher, calibration, training, control, test; each phase is recorded when it is through."""
        recipe = self.recipe
        student = make_student(self.workspace.source, recipe)
        plan = student.plan
        self.run.write_plan(describe(plan))
        self._say_plan(plan)
        teacher = make_student(self.workspace.teacher_source, real_valued(recipe, targets=True), part="teacher")
        module = TrainingModule(student, teacher if recipe.distill.targets else None)
        # A detector that is trained as it is has no teacher to compare with, only its own beginning.
        first = "teacher" if plan.quantizers or plan.alignments or recipe.teacher is not None else "start"
        self.run.phase("teacher", lambda: self._score(teacher, "val", ROWS[first])[0].to_dict())
        if plan.quantizers or plan.alignments:
            self._calibrate(student)
        if recipe.train.epochs:
            self._train(module, "student")
        save(student, self.run.path / MODELS["trained"])
        if plan.quantizers and recipe.train.control and recipe.train.epochs:
            control = make_student(self.workspace.teacher_source, real_valued(recipe), part="teacher")
            self._train(TrainingModule(control), "control")
            save(control, self.run.path / MODELS["control"])
        summary = self._summary(student, teacher, first)
        self.run.finish(summary)
        return summary

    def _say_plan(self, plan: Plan) -> None:
        cost = cost_of(plan)
        quantized = sum(site.quantizer is not None for site in plan.sites.values())
        if quantized:
            self.say(
                f"plan: {quantized} of {len(plan.sites)} sites quantized by {len(plan.quantizers)} quantizers; weights "
                f"{size(cost.float_bytes)} -> {size(cost.bytes)}; "
                f"{cost.macs / max(cost.operations, 1):.2f}x fewer operations"
            )
        else:
            self.say(f"plan: nothing is quantized; weights {size(cost.bytes)}, {amount(cost.macs)} MACs an image")
        if plan.alignments:
            self.say(f"plan: queries aligned in {len(plan.alignments)} of the decoder's layers")
        for warning in plan.warnings:
            self.say(f"warning: {warning}")

    def _score(self, student: Student, split: str, title: str) -> tuple[Evaluation, list[dict[str, Any]]]:
        """Evaluate a student, which is left in evaluation mode, and say what came out."""
        evaluation, results = score(student_detector(student), self.workspace, split)
        self.say(f"{split}: {title}: AP {three_places(evaluation.AP)}, AP50 {three_places(evaluation.AP50)}")
        return evaluation, results

    def _calibrate(self, student: Student) -> None:
        """Calibrated weights are a checkpoint of their own, so that a resumed run starts from the very same ranges."""
        folder = self.run.path / MODELS["calibrated"]
        if "calibration" in self.run.phases():
            load_weights(folder, student)
        else:
            spec = self.recipe.quantize.calibration
            report = calibrate(student, list(islice(self._batches(student, "train", spec.batch_size), spec.batches)))
            self._say_calibration(report)
            save(student, folder)
            self.run.finish_phase("calibration", report.to_dict())
        self.run.phase("calibrated", lambda: self._score(student, "val", ROWS["calibrated"])[0].to_dict())

    def _say_calibration(self, report: CalibrationReport) -> None:
        self.say(f"calibration: {report.quantizers} ranges from {report.images} images")
        for layer, (query, logits) in report.alignments.items():
            moved = "" if logits is None else f", the attention logits' by {logits:.1%}"
            self.say(
                f"calibration: aligning decoder layer {layer} changes the energy of the query by {query:.1%}{moved}"
            )

    def _train(self, module: TrainingModule, phase: str) -> None:
        """Train ``module.student``, unless that is done, and leave it with the best epoch's weights."""
        recipe, run, student = self.recipe, self.run, module.student
        folder, epochs = run.checkpoints(phase), recipe.train.epochs
        if phase not in run.phases():
            loader = self._batches(student, "train", recipe.train.batch_size, train=True)
            self.say(f"{phase}: training for {epochs} epochs of {len(loader)} steps")
            # Best is chosen among epochs of the last stage, and a checkpoint's ranges are all on until it is told.
            extra = {**description(student), "quantized_roles": recipe.train.stages[-1].quantize}
            result = fit(
                module,
                loader,
                recipe.train,
                folder=folder,
                seed=recipe.seed,
                evaluate=lambda: score(student_detector(student), self.workspace, "val")[0],
                is_backbone=student.is_backbone,
                watcher=self.watcher,
                metrics=run.metrics,
                phase=phase,
                resume=self.resume,
                extra=extra,
            )
            run.finish_phase(phase, {"best_epoch": result.best_epoch, "best_ap": result.best_ap})
        done = run.phases()[phase]
        load_weights(folder / (LAST if done["best_epoch"] is None else BEST), student)
        student.set_stage(recipe.train.stages[-1].quantize)
        if done["best_ap"] is not None:
            self.say(f"{phase}: the best of {epochs} epochs is {done['best_epoch']} (val AP {done['best_ap']:.3f})")
        else:
            self.say(f"{phase}: warning: no epoch could be compared on val, so the last of {epochs} is kept")

    def _batches(self, student: Student, split: str, batch_size: int, train: bool = False) -> BatchLoader:
        assert student.label_map is not None
        return self.workspace.batches(split, student.label_map, student.input, train=train, batch_size=batch_size)

    def _summary(self, student: Student, teacher: Student, first: str) -> Summary:
        """Touch the test split once, with every model that the run has, and write down what came out."""
        split = "test" if "test" in self.workspace.data else "val"
        scores = self.run.phase("test", lambda: self._test(student, teacher, first, split))
        own, real = cost_of(student.plan), cost_of(teacher.plan)
        rows = tuple(_row(name, result, own if name in QUANTIZED else real) for name, result in scores.items())
        notes = [] if split == "test" else ["the recipe names no test split: these scores are from val, which selected"]
        return Summary(self.recipe.name, split, rows, (*notes, *student.plan.notes))

    def _test(self, student: Student, teacher: Student, first: str, split: str) -> Mapping[str, Any]:
        """Scores by row of the summary; the last model's detections are drawn."""
        recipe, path = self.recipe, self.run.path
        models = {first: teacher}
        if (path / MODELS["control"]).exists():
            models["control"] = make_student(self.workspace.teacher_source, real_valued(recipe), part="teacher")
        if (path / MODELS["calibrated"]).exists():
            models["calibrated"] = make_student(self.workspace.source, recipe)
        for name, own in models.items():
            if name != first:
                load_weights(path / MODELS[name], own)
        if recipe.train.epochs:
            models["trained"] = student
        found = {}
        for name, own in models.items():
            title = "after training" if name == "trained" and first == "start" else ROWS[name]
            evaluation, results = self._score(own, split, title)
            found[name] = evaluation.to_dict()
        shown = self.workspace.data[split]
        picture = save_detections(shown, results, path / PICTURE, grey_range=student.input.grey_range)
        self.say(f"picture: {picture}")
        return found


QUANTIZED = ("calibrated", "trained")
"""The rows of the summary that cost what the student's plan says; the others cost what the teacher's does."""


def _row(name: str, result: Mapping[str, Any], cost: Cost) -> SummaryRow:
    scores = {key: value for key, value in result.items() if key != "per_class"}
    return SummaryRow(name, scores, result["per_class"], cost.bytes, cost.operations)
