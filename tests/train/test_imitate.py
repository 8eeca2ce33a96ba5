"""Training without labels: how many steps it takes, and that it goes on where it was cut off."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from qrecipe.data.batch import Batch
from qrecipe.errors import OutOfMemoryError
from qrecipe.recipe.definition import ReconstructSpec, WholeSpec
from qrecipe.reconstruct import Imitation
from qrecipe.student import Student, calibrate
from qrecipe.train.events import StepTaken, TrainingEvent
from qrecipe.train.imitate import imitate
from qrecipe.train.records import Records
from tests.specimens import W4A4, Specimen, a_recipe


class Images:
    """Two batches an epoch, others in each."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen, self.epoch, self.first = specimen, 0, 0

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Batch]:
        return iter([self.specimen.batch((1, 1), seed=10 * self.epoch + one) for one in range(self.first, 2)])


def module(student: Student) -> Imitation:
    return Imitation(copy.deepcopy(student), copy.deepcopy(student))


def test_whole_epochs_of_about_so_many_steps_repeat_when_cut_off(demo: Specimen, tmp_path: Path) -> None:
    student = demo.student(a_recipe(quantize=W4A4))
    calibrate(student, [demo.batch((1, 1))])
    spec = ReconstructSpec(iterations=None, whole=WholeSpec(steps=5, lr=1e-3))
    whole, parts = module(student), module(student)
    result = imitate(whole, Images(demo), spec, Records(tmp_path / "whole"), seed=3)
    assert result.epochs == 2
    assert result.best_epoch is None
    before = dict(student.named_parameters())
    moved = [not torch.equal(value, before[name]) for name, value in whole.student.named_parameters()]
    assert sum(moved) > len(moved) / 2

    def end(event: TrainingEvent) -> None:
        if isinstance(event, StepTaken) and event.epoch == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        imitate(parts, Images(demo), spec, Records(tmp_path / "parts"), seed=3, listener=end)
    again = module(student)
    imitate(again, Images(demo), spec, Records(tmp_path / "parts"), seed=3, resume=True)
    mine, other = whole.student.state_dict(), again.student.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in mine.items())


@pytest.mark.parametrize("rounded", [False, True])
def test_scales_of_rounded_weights_stay_and_are_trained_again_afterwards(
    rounded: bool, demo: Specimen, tmp_path: Path
) -> None:
    student = demo.student(a_recipe(quantize=W4A4))
    calibrate(student, [demo.batch((1, 1))])
    own = module(student)
    trained = {name for name, value in own.student.named_parameters() if value.requires_grad}
    spec = ReconstructSpec(iterations=0 if rounded else None, whole=WholeSpec(steps=2, lr=1e-3))
    imitate(own, Images(demo), spec, Records(tmp_path / "run"))
    assert {name for name, value in own.student.named_parameters() if value.requires_grad} == trained
    moved = {
        name: not torch.equal(quantizer.encoding().scale, student.quantizers[name].encoding().scale)
        for name, quantizer in own.student.quantizers.items()
    }
    weights = {name for name, quantizer in student.quantizers.items() if quantizer.operand.is_weight}
    assert any(moved[name] for name in weights) is not rounded
    assert any(moved[name] for name in moved.keys() - weights)


def test_memory_that_runs_out_names_keys_that_help(demo: Specimen, tmp_path: Path) -> None:
    student = demo.student(a_recipe(quantize=W4A4))
    calibrate(student, [demo.batch((1, 1))])
    full = module(student)
    full.register_forward_pre_hook(lambda *_: torch.empty(1 << 46) and None)
    spec = ReconstructSpec(iterations=None, whole=WholeSpec(steps=1))
    with pytest.raises(OutOfMemoryError, match=r"quantize\.reconstruct\.whole\.batch_size: 2 holds about half"):
        imitate(full, Images(demo), spec, Records(tmp_path))
