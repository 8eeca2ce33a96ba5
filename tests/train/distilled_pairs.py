"""A student and its teacher, ready to train."""

from __future__ import annotations

from typing import Any

import torch

from qrecipe.student import calibrate, real_valued
from qrecipe.train.module import TrainingModule
from tests.specimens import TARGETS, W4A4, Specimen, a_recipe

OUTPUT = "decoder.cross_attention.output"


def pair(specimen: Specimen, targets: Any = TARGETS, apart: float = 0.1, **parts: Any) -> TrainingModule:
    """A calibrated student, and as the teacher its own real-valued model, moved a little (``apart``)."""
    recipe = a_recipe(**{"quantize": W4A4, "targets": targets, **parts})
    student = specimen.student(recipe)
    calibrate(student, [specimen.batch()])
    teacher = specimen.student(real_valued(recipe, targets=True))
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(apart * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return TrainingModule(student, teacher)
