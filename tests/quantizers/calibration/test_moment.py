"""What a weight multiplies: the quadratic form of its second moment is the mean squared error of the layer itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from qrecipe.quantizers.calibration import moment
from qrecipe.quantizers.calibration.moment import InputMoment, conv_columns, linear_columns

CONVOLUTIONS = {
    "plain": ((3, 3), (1, 1), (0, 0), (1, 1), 1),
    "strided and padded": ((3, 2), (2, 1), (1, 2), (1, 1), 1),
    "grouped": ((3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise and dilated": ((3, 3), (1, 1), (2, 2), (2, 2), 4),
    "same": ((5, 3), (1, 1), "same", (1, 2), 1),
    "valid": ((2, 2), (1, 1), "valid", (1, 1), 1),
}


def form(difference: Tensor, found: Tensor) -> Tensor:
    """(rows of the weight, K) to each row's mean squared error, group by group."""
    rows = difference.reshape(found.shape[0], -1, found.shape[-1])
    return torch.stack([row @ one @ row for group, one in zip(rows, found, strict=True) for row in group])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_s_error_is_the_form_of_its_patches(name: str) -> None:
    kernel, stride, padding, dilation, groups = CONVOLUTIONS[name]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 4, 9, 11, generator=generator, dtype=torch.float64)
    difference = torch.randn(8, 4 // groups, *kernel, generator=generator, dtype=torch.float64)
    seen = InputMoment()
    for image in images:
        seen.update(conv_columns(image, kernel, stride, padding, dilation, groups, 10_000))
    result = seen.result()
    assert result is not None
    out = F.conv2d(images, difference, None, stride, padding, dilation, groups)
    torch.testing.assert_close(form(difference.flatten(1), result), out.square().mean((0, 2, 3)), rtol=1e-10, atol=0)


def test_a_linear_layer_s_error_is_the_form_of_its_rows() -> None:
    x, difference = torch.randn(2, 3, 5, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    seen = InputMoment()
    for batch in x:
        seen.update(linear_columns(batch))
    result = seen.result()
    assert result is not None
    expected = F.linear(x, difference).square().mean((0, 1, 2))
    torch.testing.assert_close(form(difference, result), expected, rtol=1e-10, atol=0)


def test_no_more_places_are_taken_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment, "PLACES", 7)
    x = torch.randn(5, 20, 3)
    columns = linear_columns(x)
    assert columns.shape == (1, 3, 7)
    rows = x.reshape(-1, 3)
    assert all(bool((rows == column).all(1).any()) for column in columns[0].mT)
    assert conv_columns(torch.randn(4, 8, 8), (1, 1), (1, 1), (0, 0), (1, 1), 4, 5).shape == (4, 1, 5)


def test_nothing_seen_is_no_moment() -> None:
    assert InputMoment().result() is None
