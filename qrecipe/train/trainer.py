"""The training loop: stages, epochs, evaluation, checkpoints, and going on where a run was cut off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Generic, TypeVar, final

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import Optimizer

from ..errors import QRecipeError, TrainError
from ..out_of_memory import enough_memory
from ..processes import gathered, rank, take_over
from ..recipe.definition import StageSpec, TrainSpec
from ..run.checkpoint import Checkpoint
from ..run.files import writing
from ..run.layout import BEST, LAST
from ..termination import Terminated, held
from .agreement import agree_to_end, ending_together, is_between_steps
from .clock import Clock
from .denormals import flushed_denormals
from .device import make_accelerator
from .epoch import Averages, epoch_seed, train_epoch
from .events import EpochEnded, StepTaken, TrainingListener, TrainingStarted, nobody
from .followers import Followers
from .keeping import Keeper
from .optimizer import ParameterGroup, build_optimizer
from .protocols import Loader, Scores, Trainable
from .records import FitResult, Records, epoch_of, epoch_record, odd_lines
from .resume import Begun, check_unstarted, fit_settings, kept_best, resume_from, trained_parameters
from .schedule import bits_before, is_candidate, lr_multiplier, stage_of
from .smaller_step import smaller_batch, smaller_step

Model = TypeVar("Model", bound=nn.Module)


@final
class Trainer(Generic[Model]):
    """Trains ``trainable.student`` through all stages of a recipe.

    Each epoch is a function of the weights, ``seed`` and its number: torch is seeded anew, the loader told the epoch.
    On a CPU a resumed training ends with the very weights of one that was never cut off, and denormals are flushed.

    Args:
        evaluate: scores a module on the validation split, every ``spec.evaluate_every`` epochs and after the last.
        is_backbone: by a parameter's name in the student.
        listener: is told of the start, each step and each epoch; what it raises ends the training.
        stop_after: end after this epoch, though the schedule is that of all epochs; None: where ``spec.patience`` ends.
        smaller: what to do where the memory of a step runs out; None: what ``spec`` has for it.
    """

    accelerator: Accelerator
    named: list[tuple[str, nn.Parameter]]
    optimizer: Optimizer
    groups: tuple[ParameterGroup, ...]
    clock: Clock
    followers: Followers
    keeper: Keeper
    begun: Begun | None

    def __init__(
        self,
        trainable: Trainable[Model],
        loader: Loader,
        spec: TrainSpec,
        records: Records,
        *,
        seed: int = 0,
        evaluate: Callable[[Model], Scores] | None = None,
        is_backbone: Callable[[str], bool] = lambda name: False,
        listener: TrainingListener = nobody,
        stop_after: int | None = None,
        smaller: str | None = None,
    ) -> None:
        self.trainable, self.loader, self.spec, self.records = trainable, loader, spec, records
        self.seed, self.steps = seed, math.ceil(len(loader) / spec.accumulate)
        self.history: list[Mapping[str, Any]] = []
        self.best: Mapping[str, Any] | None = None
        self._stop_after, self._smaller = stop_after, smaller
        self._evaluate, self._is_backbone, self._listener = evaluate, is_backbone, listener

    @contextmanager
    def scored(self) -> Iterator[Model]:
        """The student with the weights that are scored and kept as the best: their average, where there is one."""
        with self.followers.scored():
            yield self.trainable.student

    def fit(self, resume: bool = False) -> FitResult:
        """Train. Afterwards the student has the last epoch's weights.

        Args:
            resume: go on from ``last``; where there is none, begin.

        Raises:
            TrainError: a loss or gradient is not finite; nothing to train; the checkpoint is damaged, of another
                model, or of a training with other settings.
            RunError: there is a checkpoint and ``resume`` is False; the file system refuses to write.
            Terminated: a signal; what was trained is in ``last``, also within an epoch.
        """
        self.prepare()
        folder, epochs = self.records.folder, self.spec.epochs
        if epochs == 0:
            return FitResult(None, None, (), self.groups, None, 0)
        if self.steps == 0:
            raise TrainError("the training split has no image")
        if not resume:
            check_unstarted(folder / LAST)
        finished = self.resume()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        notes = odd_lines(self.records, self.history, finished)
        take_over([*self.trainable.student.state_dict().values(), *(value for _, value in self.named)])
        started = TrainingStarted(self.records.phase, epochs, finished, self.steps, self.groups, notes)
        self._listener(started)
        self.clock = Clock(epochs - finished, finished, self.steps)
        with flushed_denormals() if self.accelerator.device.type == "cpu" else nullcontext():
            for epoch in range(finished + 1, epochs + 1):
                if self.is_over(epoch - 1):
                    break
                with ending_together():
                    self.epoch(epoch, self.begun if epoch == finished + 1 else None)
        gathered(None)  # what the first process has written is there for all
        best = self.best
        return FitResult(
            best_epoch=best["epoch"] if best else None,
            best_ap=best["AP"] if best else None,
            history=tuple(self.history),
            groups=self.groups,
            checkpoint=folder / (BEST if best else LAST),
            epochs=self.keeper.whole or 0,
        )

    def is_over(self, finished: int) -> bool:
        """Whether training ends before all epochs are taken: for want of patience behind an epoch that was scored."""
        if self._stop_after is not None:
            return finished >= self._stop_after
        patience = self.spec.patience
        if patience is None or self.best is None or finished % self.spec.evaluate_every:
            return False
        return bool(finished - self.best["epoch"] >= patience)

    def prepare(self) -> None:
        """Device, optimizer, and what must not change between the parts of this training."""
        self.accelerator = make_accelerator(self.spec.precision)
        self.trainable.to(self.accelerator.device)
        self.named = trained_parameters(self.trainable)
        modules = self.trainable.student.modules()
        self.optimizer, self.groups = build_optimizer(self.named, self.spec.optimizer, self._is_backbone, modules)
        self.followers = Followers(self.trainable.student, self.spec)
        self.keeper = Keeper(
            self.records,
            self.spec,
            self.trainable,
            self.optimizer,
            self.groups,
            self.followers,
            fit_settings(self.spec, self.seed, self.steps),
        )

    def resume(self) -> int:
        """Take over what ``last`` holds, if it is there; returns the number of finished epochs."""
        last = self.records.folder / LAST
        found = resume_from(last, self.trainable, self.optimizer, self.groups, self.keeper.settings, self.followers)
        start = found or Checkpoint({})
        phase = self.records.phase
        lines = self.records.metrics.keep(lambda line: line.get("phase") != phase or epoch_of(line) <= start.epoch)
        self.history = [line for line in lines if line.get("phase") == phase]
        self.best = dict(start.best) if start.best else None
        newer = kept_best(self.records.folder / BEST, self.keeper.settings) if found else None
        if newer is not None and newer["epoch"] > start.epoch:  # its weights are the only ones that are left of a best
            self.best = dict(newer)
        begun = (start.training or {}).get("begun")
        self.begun = None if begun is None else Begun.from_dict(begun)
        self.keeper.whole = start.epoch if found and not begun else None
        return start.epoch

    def epoch(self, number: int, begun: Begun | None = None) -> None:
        """Train, evaluate and keep one epoch, counted from 1; ``begun``: the part of it that is done.

        A signal to end leaves what was trained in ``last``: it waits for the step that is being taken, not for the
        evaluation, which is repeated. So does, in one process, an image that cannot be read, or a score.
        """
        stage = stage_of(self.spec, number)
        averages = Averages() if begun is None else begun.averages
        began, before = time.perf_counter() - (0.0 if begun is None else begun.seconds), averages.steps
        trained = None
        try:
            self.learn(number, stage, averages, begun)
            trained = time.perf_counter()
            self.followers.take_over_statistics()
            scores = self.evaluate(number)
        except (Terminated, QRecipeError) as error:
            if averages.steps > before and is_between_steps(error, trained is not None):
                now = Begun.now(averages, (trained or time.perf_counter()) - began, self.followers)
                self.keeper.keep_begun(number, self.steps, self.best, now)
            raise
        is_best = scores is not None and is_candidate(self.spec, stage) and self._is_better(scores["AP"], number)
        if scores is not None and is_best:
            self.best = {"epoch": number, "AP": scores["AP"]}
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        record = epoch_record(
            averages,
            rates,
            (began, trained, time.perf_counter()),
            scores,
            phase=self.records.phase,
            epoch=number,
            stage=stage.name,
            step=number * self.steps,
        )
        record |= {"best": is_best, **self.followers.figures(), **self.records.marks}
        with held():
            self.keeper.keep(record, self.best)
            self.history.append(record)
            self._listener(EpochEnded(record, self.spec.epochs))

    def learn(self, number: int, stage: StageSpec, averages: Averages, begun: Begun | None) -> None:
        """Take the steps of one epoch that ``averages`` lacks."""
        if begun is None and stage.bits != bits_before(self.spec, number):
            self.change_bits(number, stage)
        self.trainable.set_stage(stage.quantize, stage.bits)
        self.trainable.train()
        torch.manual_seed(epoch_seed(self.seed, number, rank()))
        if begun is not None:
            begun.restore(self.followers)
        self.loader.set_epoch(number, averages.steps * self.spec.accumulate)
        phase, epochs, before = self.records.phase, self.spec.epochs, (number - 1) * self.steps

        def rate(step: int) -> float:
            return lr_multiplier(self.spec.schedule, before + step, self.steps, epochs * self.steps)

        def over(step: int) -> float:
            return (before + step) / (epochs * self.steps)

        def told(step: int, loss: float, parts: Mapping[str, float]) -> None:
            self.followers.update(before + step, over(step - 1))
            lr, left = self.optimizer.param_groups[0]["lr"], self.clock.seconds_left(number, step)
            at = partial(StepTaken, phase, stage.name, number, epochs, step, self.steps)
            self._listener(at(loss, parts, lr, left))
            agree_to_end()

        with self.followers.watching():
            train_epoch(
                self.trainable,
                self.loader,
                self.optimizer,
                self.named,
                self.accelerator,
                epoch=number,
                accumulate=self.spec.accumulate,
                clip_norm=self.spec.clip_norm,
                rate=rate,
                over=over,
                on_step=told,
                averages=averages,
                smaller=self._smaller or smaller_step(self.spec),
            )

    def change_bits(self, number: int, stage: StageSpec) -> None:
        """A stage begins with other bits than the one before: ranges are found anew, and so are their averages."""
        self.trainable.set_stage(stage.quantize, bits_before(self.spec, number))
        self.trainable.change_bits(stage.bits)
        take_over(list(self.trainable.student.state_dict().values()))
        self.followers.begin_ranges_anew()

    def evaluate(self, number: int) -> dict[str, Any] | None:
        """The scores after an epoch, where it is one that is evaluated."""
        due = number % self.spec.evaluate_every == 0 or number == self.spec.epochs
        if self._evaluate is None or not due:
            return None
        self.trainable.train(False)
        memory = enough_memory(f"epoch {number}, evaluation", smaller_batch(self.spec))
        with memory, torch.no_grad(), self.scored() as student:
            return self._evaluate(student).to_dict()

    def _is_better(self, ap: float | None, number: int) -> bool:
        """Of equals the first is kept, and the same epoch taken again. None: there was nothing to find."""
        if ap is None or math.isnan(ap):
            return False
        best = self.best
        return best is None or ap > best["AP"] or (ap == best["AP"] and number == best["epoch"])
