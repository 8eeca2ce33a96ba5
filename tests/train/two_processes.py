"""What ``test_processes`` runs in one process and in two: ``python -m tests.train.two_processes FOLDER``."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qrecipe import processes
from qrecipe.data.batch import Batch
from qrecipe.data.coco import read_coco
from qrecipe.data.dataset import CocoDataset
from qrecipe.data.labels import LabelMap
from qrecipe.data.loader import build_loader
from qrecipe.data.synthetic import synthetic_splits
from qrecipe.detection.prediction import Prediction
from qrecipe.errors import DataError, ProcessError
from qrecipe.evaluation import evaluate_model
from qrecipe.recipe.definition import EmaSpec, FreezeSpec, InputSpec, OptimizerSpec, StageSpec, SyntheticSpec, TrainSpec
from qrecipe.termination import Terminated, listening
from qrecipe.train.device import joined
from qrecipe.train.events import StepTaken, TrainingEvent
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import SPECIMENS
from tests.tiny_training import TinyLoader, TinyTrainable
from tests.train.distilled_pairs import OUTPUT, pair
from tests.train.test_accumulate import in_evaluation

SPEC = TrainSpec(
    stages=(StageSpec("all", 2),), batch_size=2, optimizer=OptimizerSpec(lr=1e-3), clip_norm=0.5, ema=EmaSpec(0.9, 3)
)
FOREGROUND = [{"at": OUTPUT, "weight": 2.0, "layers": "all", "match": {"tau": 0.3}}]
EVERY = [{"at": OUTPUT, "weight": 2.0, "match": {"kind": "all"}}]
FROZEN = replace(
    SPEC,
    ema=None,
    optimizer=OptimizerSpec(lr=0.03, betas=(0.0, 0.9)),
    freeze_oscillating=FreezeSpec(0.0, 0.0, 0.5),
)
TRAININGS: dict[str, tuple[Any, TrainSpec]] = {
    "frozen": (FOREGROUND, FROZEN),
    "foreground": (FOREGROUND, SPEC),
    "accumulated": (EVERY, replace(SPEC, accumulate=2, checkpointing=True)),
}


class Shared:
    """Given images, two at a time, of which this process has its part."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.first = batch, 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.first = first

    def __len__(self) -> int:
        return -(-len(self.batch) // 2)

    def __iter__(self) -> Iterator[Batch]:
        whole, rank, count = self.batch, processes.rank(), processes.count()
        for number in range(self.first, len(self)):
            images = list(range(len(whole)))[2 * number : 2 * number + 2]
            own = images[len(images) * rank // count : len(images) * (rank + 1) // count]
            at = slice(own[0], own[-1] + 1) if own else slice(0, 1)
            mask = None if whole.pixel_mask is None else whole.pixel_mask[at]
            parts = whole.pixel_values[at], mask, whole.labels[at], whole.image_ids[at], whole.sizes[at]
            yield Batch(*parts, idle=not own)


def digest(module: nn.Module) -> str:
    found = hashlib.sha256()
    for value in module.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


def train(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)  # for the first weights
    toy, told = SPECIMENS["toy"](), dict[str, Any]()
    for name, (targets, spec) in TRAININGS.items():
        train: dict[str, Any] = {"freeze_oscillating": {}} if spec.freeze_oscillating else {}
        module = in_evaluation(pair(toy, targets, train={**train, "checkpointing": spec.checkpointing}))
        Trainer(module, Shared(toy.batch((3, 0, 1, 2, 1), seed=3)), spec, Records(folder / name)).fit()
        told[name] = digest(module.student)
    return told


class Brighter(TinyLoader):
    """Images that are others in each process: so are running statistics, and the averages of them."""

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield replace(batch, pixel_values=batch.pixel_values * (1 + processes.rank()))


def end(folder: Path) -> list[int]:
    """A training with dropout and batch normalisation that is trained; then one that a signal to the last process ends
    within its second epoch, and resumed."""
    spec = replace(SPEC, stages=(StageSpec("all", 3),))
    steps = list[int]()

    def hear(event: TrainingEvent) -> None:
        if isinstance(event, StepTaken):
            steps.append(event.step)
            if len(steps) == 4 and processes.rank() == processes.count() - 1:
                os.kill(os.getpid(), signal.SIGTERM)

    Trainer(TinyTrainable(5), Brighter(), spec, Records(folder / "random")).fit()
    try:
        with listening():
            Trainer(TinyTrainable(5), Brighter(), spec, Records(folder / "ended"), listener=hear).fit()
    except Terminated as ended:
        taken = len(steps)
        processes.gathered(None)
        Trainer(TinyTrainable(5), Brighter(), spec, Records(folder / "ended")).fit(resume=True)
        return [ended.code, taken]
    raise AssertionError


def score() -> dict[str, Any]:
    """Of a model that guesses, a function of the image."""
    with tempfile.TemporaryDirectory() as cache:
        index = read_coco(synthetic_splits(SyntheticSpec(train=1, val=7, test=1, size=64), Path(cache))["val"])
        labels = LabelMap.contiguous(index.categories)
        dataset = CocoDataset(index, labels, InputSpec(size=(64, 64)))
        part = processes.rank(), processes.count()

        def guess(batch: Batch) -> Prediction:
            noise = torch.Generator().manual_seed(batch.image_ids[0])
            logits = torch.randn(len(batch), 9, labels.classes, generator=noise)
            return Prediction(logits, 0.2 + torch.rand(len(batch), 9, 4, generator=noise) / 2, ())

        evaluation, results = evaluate_model(guess, build_loader(dataset, 2, part=part), labels, "sigmoid", index.truth)
    return {"scores": evaluation.to_dict(), "results": hashlib.sha256(json.dumps(results).encode()).hexdigest()}


def fail() -> str:
    """The last process has a broken image, the others wait for it."""
    if processes.rank() == 1:
        error = DataError("is broken", where="image 7")
        processes.leave_word("image 7 is broken")
        return str(error)
    try:
        processes.gathered(None)
    except ProcessError as error:
        return str(error)
    raise AssertionError


def work(folder: Path) -> dict[str, Any]:
    with joined():
        return {**train(folder), **score()}


if __name__ == "__main__":
    where = Path(sys.argv[1])
    try:
        with joined():
            answer = {**train(where), **score(), "ended": end(where)}
            answer["error"] = fail()
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
            os._exit(0)  # the first one sees that the last one is gone
    finally:
        sys.stdout.flush()
