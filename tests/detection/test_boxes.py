"""Box geometry against plain loops over floats."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.detection.boxes import cxcywh_to_xyxy, pairwise_giou

Corners = tuple[float, float, float, float]

_place = st.floats(-1, 2, allow_nan=False, width=32)
_side = st.one_of(st.just(0.0), st.floats(2**-10, 1, width=32))
_box = st.tuples(_place, _place, _side, _side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def slow_giou(a: Corners, b: Corners) -> float:
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = width * height if width > 0 and height > 0 else 0.0
    union = area_a + area_b - overlap
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return (overlap / union if union > 0 else 0.0) - ((hull - union) / hull if hull > 0 else 0.0)


def doubles(boxes: list[Corners]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


@settings(max_examples=100)
@given(st.lists(_box, max_size=4), st.lists(_box, max_size=4))
def test_pairwise_giou_equals_the_loop(a: list[Corners], b: list[Corners]) -> None:
    found = pairwise_giou(doubles(a), doubles(b))
    assert found.shape == (len(a), len(b))
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            assert found[i, j].item() == pytest.approx(slow_giou(left, right), abs=1e-9)
            assert -1 - 1e-9 <= found[i, j].item() <= 1 + 1e-9


def test_known_values() -> None:
    unit = (0.0, 0.0, 1.0, 1.0)
    others = doubles([unit, (1.0, 0.0, 2.0, 1.0), (2.0, 0.0, 3.0, 1.0), (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.5, 1.0)])
    torch.testing.assert_close(
        pairwise_giou(doubles([unit]), others)[0],
        torch.tensor([1.0, 0.0, -1 / 3, 0.25, 1 / 3], dtype=torch.float64),
    )


def test_boxes_of_no_area_are_defined_and_so_are_their_gradients() -> None:
    point, line, unit = (0.5, 0.5, 0.5, 0.5), (0.0, 0.5, 1.0, 0.5), (0.0, 0.0, 1.0, 1.0)
    boxes = doubles([point, line, unit, (2.0, 2.0, 2.0, 2.0)]).requires_grad_()
    found = pairwise_giou(boxes, boxes)
    assert found.isfinite().all()
    assert found[0, 0] == 0  # no union and no hull
    assert found[0, 2] == 0  # inside: the hull is the union
    assert found[0, 3] == -1  # the hull is all empty
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_negative_sides_are_read_as_none() -> None:
    turned = doubles([(1.0, 0.0, 0.0, 1.0)])
    assert pairwise_giou(turned, doubles([(0.0, 0.0, 1.0, 1.0)])).isfinite().all()
    assert pairwise_giou(turned, turned).item() == 0


def test_leading_dimensions_broadcast() -> None:
    a, b = torch.rand(3, 2, 4), torch.rand(3, 5, 4)
    a[..., 2:] += a[..., :2]
    b[..., 2:] += b[..., :2]
    found = pairwise_giou(a, b)
    assert found.shape == (3, 2, 5)
    for i in range(3):
        torch.testing.assert_close(found[i], pairwise_giou(a[i], b[i]))


def test_gradients_are_those_of_finite_differences() -> None:
    a = doubles([(0.1, 0.2, 0.6, 0.7), (0.0, 0.05, 0.28, 0.93)]).requires_grad_()
    b = doubles([(0.3, 0.3, 0.9, 0.8), (0.7, 0.72, 0.95, 0.99)]).requires_grad_()
    assert torch.autograd.gradcheck(pairwise_giou, (a, b))


@given(st.lists(_box, max_size=4))
def test_corners_of_a_centre_and_a_size(boxes: list[Corners]) -> None:
    centred = [((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    torch.testing.assert_close(cxcywh_to_xyxy(doubles(centred)), doubles(boxes))
