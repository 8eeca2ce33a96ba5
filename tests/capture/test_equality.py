"""``torch.equal`` of a tensor with itself, with one of another shape, and of sizes, is known without any values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qrecipe.capture import capture, verify
from tests.toys import call, picture


class Compares(nn.Module):
    """Each comparison that comes out otherwise than in the model itself changes the sum."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        x, few = pixel_values.flatten(2).mT, pixel_values[:, :, :4, 0].mT  # (batch, length, 3), (batch, 4, 3)
        sizes = torch.as_tensor(pixel_values.shape)
        answers = [
            torch.equal(x, x),
            x.equal(x),
            torch.allclose(x, x),
            torch.equal(x, few),
            few.equal(x),
            torch.equal(x, x[0]),
            torch.equal(sizes[2:], torch.tensor([pixel_values.shape[2], pixel_values.shape[3]])),
            sizes.equal(sizes + 1),
        ]
        assert answers == [True, True, True, False, False, False, True, False]
        return x + sum(answer << index for index, answer in enumerate(answers))


def test_what_is_known_without_values() -> None:
    captured = capture(Compares(), call, picture(2, 16, 24))
    assert captured.warnings == ()
    verify(captured, Compares(), call, [picture(1, 20, 32), picture(3, 8, 6)], tolerance=0)


class ComparesWithTokens(nn.Module):
    """(batch, 6, 3) and (batch, height * width, 3)."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = pixel_values.flatten(2).mT
        queries = torch.ones(tokens.shape[0], 6, 3, dtype=tokens.dtype)
        return tokens * (2 if torch.equal(queries, tokens) else 3)


def test_a_shape_that_is_the_same_by_chance_is_another_one() -> None:
    captured = capture(ComparesWithTokens(), call, picture(2, 2, 3))
    verify(captured, ComparesWithTokens(), call, [picture(1, 20, 32), picture(3, 1, 6)], tolerance=0)
