"""A step of several batches is that of one batch of as many times the size."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qrecipe.data.batch import Batch
from qrecipe.processes import Whole
from qrecipe.recipe.definition import OptimizerSpec, StageSpec, TrainSpec
from qrecipe.run.checkpoint import load_checkpoint
from qrecipe.termination import Terminated, listening
from qrecipe.train.epoch import in_steps
from qrecipe.train.module import TrainingModule
from qrecipe.train.records import Records
from qrecipe.train.trainer import Trainer
from tests.specimens import ALIGN, Specimen
from tests.tiny_training import TinyLoader, TinyTrainable
from tests.train.distilled_pairs import OUTPUT, pair
from tests.train.tiny_fits import break_off

SPEC = TrainSpec(stages=(StageSpec("all", 2),), optimizer=OptimizerSpec(lr=1e-3), clip_norm=None)
EVERY = [{"at": OUTPUT, "weight": 2.0, "match": {"kind": "all"}}]


class Cut:
    """Given images, ``size`` at a time, in every epoch."""

    def __init__(self, batch: Batch, size: int) -> None:
        self.batch, self.size, self.first = batch, size, 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.first = first

    def __len__(self) -> int:
        return -(-len(self.batch) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        whole = self.batch
        for start in range(self.first * self.size, len(whole), self.size):
            at = slice(start, start + self.size)
            mask = None if whole.pixel_mask is None else whole.pixel_mask[at]
            yield Batch(whole.pixel_values[at], mask, whole.labels[at], whole.image_ids[at], whole.sizes[at])


def test_batches_know_the_step_that_they_are_part_of(toy: Specimen) -> None:
    steps = list(in_steps(Cut(toy.batch((2, 0, 1, 0, 1)), 2), 2))
    assert [[batch.image_ids for batch in parts] for parts in steps] == [[[0, 1], [2, 3]], [[4]]]
    assert steps[0][0].whole == Whole((2, 0, 1, 0), 2, 1.0)
    assert steps[1][0].whole is None
    uneven = next(in_steps(Cut(toy.batch((2, 0, 1)), 2), 2))
    assert [batch.whole and batch.whole.share for batch in uneven] == [4 / 3, 2 / 3]
    assert [batch.whole for batch in next(in_steps(Cut(toy.batch(), 2), 1))] == [None]


def in_evaluation(module: TrainingModule) -> TrainingModule:
    """It stays in this mode: batch norm would see others."""
    module.eval()
    module.train = lambda mode=True: module  # type: ignore[method-assign]
    return module


def test_the_same_global_batch_gives_the_same_weights(toy: Specimen, tmp_path: Path) -> None:
    """Also where batches differ in objects and in size; every query is matched, so the expectation is global too."""
    first = pair(toy, EVERY, align=ALIGN)
    images = toy.batch((3, 0, 1, 0, 2), seed=3)
    found = []
    for size, accumulate in ((5, 1), (2, 3), (1, 5)):
        module = in_evaluation(copy.deepcopy(first))
        spec = replace(SPEC, accumulate=accumulate)
        result = Trainer(module, Cut(images, size), spec, Records(tmp_path / str(size))).fit()
        found.append((module.student.state_dict(), result.history))
        assert load_checkpoint(tmp_path / str(size) / "last").step == 2
    (whole, lines), *others = found
    for parts, told in others:
        for one, other in zip(lines, told, strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
            assert one["parts"] == pytest.approx(other["parts"], rel=1e-5)
            assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-9)
    changed = [not torch.equal(whole[name], value) for name, value in first.student.state_dict().items()]
    assert any(changed)


def test_foreground_expectations_are_averaged_by_images(toy: Specimen) -> None:
    """Which queries are kept is known only once they predict: it is the mean of the batches' expectations."""
    module = pair(toy).eval()
    batches = next(in_steps(Cut(toy.batch((3, 0, 1), seed=3), 2), 2))
    parts = [float(module(batch)[1]["distill"]) for batch in batches]
    alone = [float(module(replace(batch, whole=None))[1]["distill"]) for batch in batches]
    assert sum(parts) / 2 == pytest.approx((2 * alone[0] + alone[1]) / 3)


def test_resume_within_an_epoch_of_several_batches_a_step(tmp_path: Path) -> None:
    spec = replace(SPEC, accumulate=2)

    def fit(folder: str, seed: int, **others: Any) -> TinyTrainable:
        trainable = TinyTrainable(seed)
        resume = others.pop("resume", False)
        trainer = Trainer(trainable, TinyLoader(5), spec, Records(tmp_path / folder), seed=7, **others)
        assert trainer.steps == 3
        trainer.fit(resume)
        return trainable

    whole = fit("whole", 5)
    with listening(), pytest.raises(Terminated):
        fit("parts", 5, listener=break_off(2, 2))
    assert load_checkpoint(tmp_path / "parts" / "last").step == 5
    parts = fit("parts", 6, resume=True)
    assert load_checkpoint(tmp_path / "parts" / "last").step == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], value)
