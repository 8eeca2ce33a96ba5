"""Every family's shipped recipe at its model's published size: built, captured, compared with itself, made a student.

Slow, so a tier of its own: ``make test-full``. Random weights; nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.coverage import EXAMPLE, build, covered, family_recipes, fixed, settle, stir, widest
from qrecipe.recipe import load_recipe
from qrecipe.student import capture_original, make_student

pytestmark = pytest.mark.full

LARGE = 100_000_000
"""Parameters of a model of which two processes' copies in float64 are too much for 24 GB."""


@pytest.mark.parametrize("path", family_recipes(), ids=lambda path: path.stem)
def test_it_compiles(path: Path) -> None:
    """The capture raises unless it agrees with the model at other sizes, outputs and gradients."""
    recipe = load_recipe(path, data=False)
    built = build(recipe)
    stir(built.model).eval()
    large = sum(parameter.numel() for parameter in built.model.parameters()) > LARGE
    dtype = torch.float32 if large else widest(built.model, built.family, EXAMPLE)
    settle(built.model, built.family, EXAMPLE, dtype)
    original = capture_original(built.model, built.family, fixed(built.input, *EXAMPLE[1:]))
    student = make_student(original, recipe)
    assert covered(student.plan) >= 0.99
    student.eval().switch_off()
    with torch.no_grad():
        prediction = student.predict(torch.rand(1, 3, *EXAMPLE[1:], dtype=dtype))
    assert prediction.logits.isfinite().all()
    assert prediction.boxes.isfinite().all()
