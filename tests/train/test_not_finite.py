"""Predictions that are not finite: every family's loss says so with the images, whatever its library raises."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from qrecipe.errors import TrainError
from qrecipe.train.module import TrainingModule
from tests.specimens import ALIGN, TARGETS, Specimen, a_recipe


def test_an_image_that_breaks_the_network(specimen: Specimen) -> None:
    module = TrainingModule(specimen.student(a_recipe())).train()
    batch = dataclasses.replace(specimen.batch((2, 1)), image_ids=[17, 23])
    assert module(batch)[0].isfinite()
    batch.pixel_values[1] = torch.nan
    with pytest.raises(TrainError) as caught:
        module(batch)
    assert "not finite" in caught.value.what
    assert "image" in str(caught.value.where)


def test_the_images_are_named(detr: Specimen) -> None:
    """transformers' matcher raises a ValueError for the whole batch; here the image is told from the others."""
    recipe = a_recipe(align=ALIGN, targets=TARGETS)
    module = TrainingModule(detr.student(recipe), detr.student(a_recipe(targets=TARGETS))).train()
    batch = dataclasses.replace(detr.batch((2, 1, 0)), image_ids=[17, 23, 4])
    batch.pixel_values[1] = torch.nan
    with pytest.raises(TrainError) as caught:
        module(batch)
    assert caught.value.where == "images 23"


def test_another_fault_stays_what_it_is(detr: Specimen) -> None:
    module = TrainingModule(detr.student(a_recipe())).train()
    batch = detr.batch((2,))
    batch.labels[0]["boxes"] = batch.labels[0]["boxes"][:, :3]
    with pytest.raises((ValueError, RuntimeError, IndexError)) as caught:
        module(batch)
    assert not isinstance(caught.value, TrainError)
