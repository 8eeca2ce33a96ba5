"""A student in one call, from a model and example images; models that are refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import qrecipe
from qrecipe.errors import CaptureError, ModelError
from qrecipe.student import compile
from qrecipe.student.weight_inputs import WeightInputsRun
from tests.specimens import W4A4, a_recipe, prepared
from tests.toys import ToyDetector


class Fussy(ToyDetector):
    """Takes images of one size alone."""

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        if tuple(pixel_values.shape[-2:]) not in ((256, 256), (128, 96)):
            raise ValueError("128 by 96, please")
        return super().forward(pixel_values)


def float_toy(kind: type[nn.Module] = ToyDetector) -> nn.Module:
    torch.manual_seed(0)
    return prepared(kind()).float()


@pytest.mark.parametrize("shape", [(2, 3, 64, 96), (1, 3, 64, 64)])
def test_compile_in_one_call(shape: tuple[int, ...]) -> None:
    model = float_toy()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    student = compile(model, a_recipe(W4A4), torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    assert isinstance(student, qrecipe.Student)
    assert qrecipe.compile is compile
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not student.training
    student.switch_off()
    pixels = torch.rand(3, 3, 40, 72, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(student(pixels)["logits"], model(pixels)["logits"], rtol=1e-4, atol=1e-4)


def test_a_model_that_cannot_be_verified_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"cannot be captured|at none of the sizes|fails at input"):
        compile(float_toy(Fussy), a_recipe(W4A4), torch.rand(2, 3, 128, 96))


class Choosing(ToyDetector):
    """Its logits are those of the fifty best places."""

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        outputs = super().forward(pixel_values)
        best = pixel_values.mean(1)[:, ::4, ::4].flatten(1).topk(50, 1).values.mean(1)
        return {**outputs, "logits": outputs["logits"] + best[:, None, None]}


def test_an_image_with_too_few_places() -> None:
    student = compile(float_toy(Choosing), a_recipe(W4A4), torch.rand(2, 3, 64, 96))
    student.switch_off()
    student(torch.rand(1, 3, 32, 32))
    with pytest.raises(ModelError, match=r"an image of 16x40 has fewer places than the model chooses queries"):
        student(torch.rand(1, 3, 16, 40))
    with pytest.raises(ModelError, match=r"an image of 16x40 has fewer places than the model chooses queries"):
        WeightInputsRun(student.deployable()).over(student.family.inputs(torch.rand(1, 3, 16, 40), None))


class Reserved(ToyDetector):
    def __init__(self) -> None:
        super().__init__()
        self.plan = nn.Linear(2, 2)


def test_a_part_named_like_a_students_own_is_refused() -> None:
    with pytest.raises(CaptureError, match="own parts plan have names"):
        compile(float_toy(Reserved), a_recipe(), torch.rand(2, 3, 64, 96))
