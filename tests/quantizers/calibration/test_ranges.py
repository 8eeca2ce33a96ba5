"""First ranges: the papers' formulas in plain Python, least squares against brute force, and awkward data."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrecipe.errors import CalibrationError, RecipeError
from qrecipe.quantizers import INITIALISERS, Grid
from qrecipe.quantizers.calibration.observer import Observer
from qrecipe.quantizers.calibration.ranges import Target, first_range
from qrecipe.quantizers.kernels.reference import fake_quantize
from qrecipe.recipe.names import Offset

OFFSETS: tuple[Offset, ...] = ("none", "integer", "real")


def ranges(
    init: str, x: Tensor, bits: int = 4, offset: Offset = "none", is_weight: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale and offset for x (size, values)."""
    observer = Observer("site", x.shape[0], 0, keep_all=is_weight)
    observer.update(x, 1)
    return first_range(init, observer.result(), Target(Grid(bits), offset, is_weight), "site")


def restored(x: Tensor, scale: Tensor, offset: Tensor, bits: int, offset_kind: Offset) -> Tensor:
    scale, offset = scale[:, None], offset[:, None]
    zero_point = -offset / scale
    integer = offset_kind != "real"
    zero_point = zero_point.round().clamp(-128, 127) if integer else zero_point
    return fake_quantize(x, scale, zero_point, Grid(bits), integer)


def error(x: Tensor, scale: Tensor, offset: Tensor, bits: int, offset_kind: Offset) -> float:
    return float((restored(x, scale, offset, bits, offset_kind) - x).square().mean())


values = st.lists(st.floats(-100, 100, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3), min_size=2, max_size=40)


@given(values.filter(any), st.integers(2, 8))
def test_lsq_is_its_formula(data: list[float], bits: int) -> None:
    scale, offset = ranges("lsq", torch.tensor([data]), bits)
    expected = 2 * statistics.fmean(abs(v) for v in data) / math.sqrt(2 ** (bits - 1) - 1)
    assert scale.item() == pytest.approx(expected, rel=1e-5)
    assert offset.item() == 0


def test_lsq_with_an_offset_is_unsigned_for_data_that_is_never_negative() -> None:
    x = torch.randn(1, 1000).relu()
    scale, offset = ranges("lsq", x, 4, "integer")
    assert scale.item() == pytest.approx(2 * x.mean().item() / math.sqrt(15), rel=1e-5)
    assert round(-offset.item() / scale.item()) == -8
    scale, offset = ranges("lsq", x - 0.1, 4, "integer")
    assert scale.item() == pytest.approx(2 * (x - 0.1).abs().mean().item() / math.sqrt(7), rel=1e-5)
    assert offset.item() == 0


@given(values, st.integers(2, 8))
def test_lsq_plus_takes_three_sigma_for_weights(data: list[float], bits: int) -> None:
    mean, sigma = statistics.fmean(data), statistics.pstdev(data)
    expected = max(abs(mean - 3 * sigma), abs(mean + 3 * sigma)) / 2 ** (bits - 1)
    scale, offset = ranges("lsq+", torch.tensor([data]), bits, is_weight=True)
    assert offset.item() == 0
    if expected > 1e-5:
        assert scale.item() == pytest.approx(expected, rel=1e-4)


def test_lsq_plus_takes_least_squares_for_activations() -> None:
    x = torch.randn(2, 500)
    assert all(torch.equal(a, b) for a, b in zip(ranges("lsq+", x), ranges("mse", x), strict=True))


@given(values, st.integers(2, 8), st.sampled_from(OFFSETS))
def test_minmax_clips_nothing(data: list[float], bits: int, offset_kind: Offset) -> None:
    x = torch.tensor([data])
    scale, offset = ranges("minmax", x, bits, offset_kind)
    worst = (restored(x, scale, offset, bits, offset_kind) - x).abs().max().item()
    # An integer zero point moves the range by up to half a step.
    assert worst <= scale.item() * (1.0 if offset_kind == "integer" else 0.5) + 1e-4
    if offset_kind == "integer":
        assert Grid(bits).lo <= round(-offset.item() / scale.item()) <= Grid(bits).hi


@pytest.mark.parametrize("offset_kind", OFFSETS)
def test_percentile_is_minmax_without_one_in_ten_thousand_at_either_end(offset_kind: Offset) -> None:
    x = torch.randn(2, 20_001)
    ordered = x.sort(dim=1).values
    expected = ranges("minmax", ordered[:, 2:-2], 8, offset_kind, is_weight=True)
    found = ranges("percentile", x, 8, offset_kind, is_weight=True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@settings(max_examples=10)
@given(
    st.integers(0, 1000),
    st.integers(2, 8),
    st.sampled_from(OFFSETS),
    st.sampled_from(["normal", "relu", "heavy", "shifted"]),
)
def test_least_squares_is_near_the_best_of_a_brute_force(seed: int, bits: int, offset_kind: Offset, shape: str) -> None:
    x = torch.randn(1, 300, generator=torch.Generator().manual_seed(seed))
    x = {"normal": x, "relu": x.relu(), "heavy": x**3, "shifted": x + 5}[shape]
    found = error(x, *ranges("mse", x, bits, offset_kind), bits, offset_kind)
    largest = x.abs().max().item()
    best = math.inf
    steps = 2**bits - 1
    for width in torch.linspace(0.02, 2.0, 60).tolist():
        scale = torch.tensor([largest * width / steps])
        lows = [0.0] if offset_kind == "none" else torch.linspace(-1, 1, 41).tolist()
        for low in lows:
            offset = torch.tensor([largest * low - scale.item() * Grid(bits).lo if offset_kind != "none" else 0.0])
            best = min(best, error(x, scale, offset, bits, offset_kind))
    assert found <= best * 1.3 + 1e-12


@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_one_sign_lose_no_level(sign: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [(torch.randn(4000, generator=generator) - 0.5 * (row % 4)).relu() ** (1 + row % 3) for row in range(24)]
    scale, offset = ranges("mse", sign * torch.stack(rows), bits=8, offset="integer")
    assert ((-offset / scale).round() == (-128 if sign > 0 else 127)).all()


@pytest.mark.parametrize("offset_kind", OFFSETS)
def test_least_squares_beats_minmax_on_every_row_and_repeats_itself(offset_kind: Offset) -> None:
    x = torch.randn(6, 4000) * torch.logspace(-6, 6, 6)[:, None]
    found = ranges("mse", x, 4, offset_kind)
    again = ranges("mse", x, 4, offset_kind)
    widest = ranges("minmax", x, 4, offset_kind)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    for row in range(6):
        one = x[row : row + 1]
        mine = error(one, found[0][row : row + 1], found[1][row : row + 1], 4, offset_kind)
        theirs = error(one, widest[0][row : row + 1], widest[1][row : row + 1], 4, offset_kind)
        assert mine < theirs


@pytest.mark.parametrize("init", INITIALISERS)
@pytest.mark.parametrize("offset_kind", OFFSETS)
@pytest.mark.parametrize("is_weight", [True, False])
@pytest.mark.parametrize("bits", [2, 8])
def test_constants_and_single_values_have_a_range(init: str, offset_kind: Offset, is_weight: bool, bits: int) -> None:
    for constant in (0.0, 1.0, -3.0, 1e-20, -1e-6, 1e20, -1e30):
        for number in (1, 7):
            x = torch.full((1, number), constant)
            scale, offset = ranges(init, x, bits, offset_kind, is_weight)
            assert math.isfinite(scale.item())
            assert scale.item() > 0
            assert math.isfinite(offset.item())
            if init in ("minmax", "mse") and abs(constant) >= 1e-3:
                got = restored(x, scale, offset, bits, offset_kind)
                torch.testing.assert_close(got, x, rtol=1e-3, atol=0)


@pytest.mark.parametrize("init", INITIALISERS)
@pytest.mark.parametrize("offset_kind", OFFSETS)
def test_a_dead_channel_takes_the_median_scale(init: str, offset_kind: Offset) -> None:
    x = torch.randn(4, 50) * torch.tensor([1.0, 0.0, 10.0, 100.0])[:, None]
    scale, offset = ranges(init, x, 4, offset_kind, is_weight=True)
    assert scale[1] == scale[[0, 2, 3]].median()
    assert offset[1] == 0


@pytest.mark.parametrize("init", INITIALISERS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_all_zero_is_one_over_qp(init: str, bits: int) -> None:
    scale, offset = ranges(init, torch.zeros(3, 5), bits, "none", is_weight=True)
    assert scale.tolist() == pytest.approx([1 / (2 ** (bits - 1) - 1)] * 3)
    assert offset.tolist() == [0, 0, 0]


def test_values_too_large_for_a_range_name_the_site() -> None:
    with pytest.raises(CalibrationError, match=r"site: .*too large"):
        ranges("lsq+", torch.tensor([[3e38, -3e38, 3e38]]), is_weight=True)


def test_an_unknown_initialiser_lists_the_known() -> None:
    with pytest.raises(RecipeError, match=r'"kl".*lsq, lsq\+, minmax, mse'):
        ranges("kl", torch.ones(1, 3))
