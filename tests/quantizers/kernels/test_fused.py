"""The fused kernels against the reference, on all layouts; and how many are compiled."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from qrecipe.quantizers import Grid
from qrecipe.quantizers.kernels import compiled as kernels
from qrecipe.quantizers.kernels import fused, layout, reference

pytestmark = pytest.mark.usefixtures("fused_at_any_size")

LAYOUTS = {
    "contiguous": lambda: torch.randn(3, 8, 10, 17),
    "heads": lambda: torch.randn(3, 10, 8, 17).transpose(1, 2),
    "keys": lambda: torch.randn(3, 10, 8, 17).permute(0, 2, 3, 1),
    "channels_last": lambda: torch.randn(3, 8, 10, 17).to(memory_format=torch.channels_last),
    "slice": lambda: torch.randn(3, 16, 10, 17)[:, ::2],
    "expanded": lambda: torch.randn(1, 8, 10, 17).expand(3, 8, 10, 17),
    "batch of one": lambda: torch.randn(1, 8, 10, 17),
    "one token": lambda: torch.randn(3, 8, 1, 17),
    "one value per row": lambda: torch.randn(3, 8, 1, 1),
    "odd": lambda: torch.randn(1, 8, 1, 13),
    "empty": lambda: torch.randn(0, 8, 10, 17),
    "empty inside": lambda: torch.randn(3, 8, 0, 17),
    "long rows": lambda: torch.randn(1, 8, 2, 4099),
    "square": lambda: torch.randn(1, 8, 1, 8),
    "weight": lambda: torch.randn(5, 8),
    "deep weight": lambda: torch.randn(2, 8, 3, 3),
    "zeros": lambda: torch.zeros(3, 8, 10, 17),
}


def both(
    x: Tensor, size: int, axis: int | None, bits: int, integer: bool, seed: int = 0
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """(result, gradients) fused and by the reference, and the sums of magnitudes behind the reduced gradients."""
    draw = torch.Generator().manual_seed(seed)
    x = x.detach().requires_grad_()
    scale = (torch.rand(size, generator=draw) * 0.5 + 0.1).requires_grad_()
    zero_point = torch.randn(size, generator=draw) * 3
    zero_point = (zero_point.round() if integer else zero_point).requires_grad_()
    gradient = torch.randn(x.shape, generator=draw).to(x.dtype)
    leaves = (x, scale, zero_point)
    fast = fused.fake_quantize(*leaves, Grid(bits), integer, axis)
    wide = (fused.along(scale, x, axis), fused.along(zero_point, x, axis))
    slow = reference.fake_quantize(x, *wide, Grid(bits), integer)
    assert fast.dtype == slow.dtype == x.dtype
    fast_gradients = torch.autograd.grad(fast, leaves, gradient)
    slow_gradients = torch.autograd.grad(slow, leaves, gradient)
    magnitude = gradient.abs().sum() * (2**bits + zero_point.detach().abs().max() + 1)
    return [fast, *fast_gradients], [slow, *slow_gradients], magnitude.float()


def same(fast: list[Tensor], slow: list[Tensor], magnitude: Tensor) -> None:
    assert torch.equal(fast[0], slow[0])
    torch.testing.assert_close(fast[1], slow[1], rtol=1e-6, atol=0)
    for got, expected in zip(fast[2:], slow[2:], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6 * magnitude.item())


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "real"])
@pytest.mark.parametrize("per_head", [True, False], ids=["per head", "per tensor"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_equals_the_reference(name: str, per_head: bool, integer: bool) -> None:
    torch.manual_seed(3)
    x = LAYOUTS[name]()
    same(*both(x, 8 if per_head else 1, 1 if per_head else None, 4, integer))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(0, 3), st.integers(2, 8), st.booleans())
def test_any_shape_equals_the_reference(shape: list[int], axis: int, bits: int, integer: bool) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    axis %= len(shape)
    same(*both(x, 1, None, bits, integer))
    if shape[axis] > 0:
        same(*both(x, shape[axis], axis, bits, integer))


def test_scales_per_output_channel_of_a_weight() -> None:
    for weight in (torch.randn(32, 3, 7, 7), torch.randn(24, 48), torch.randn(48, 24).t()):
        same(*both(weight, weight.shape[0], 0, 4, True))


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "real"])
def test_bfloat16_equals_the_reference(integer: bool) -> None:
    x = torch.randn(2, 8, 30, 33).bfloat16()
    same(*both(x, 8, 1, 4, integer))
    same(*both(x, 1, None, 8, integer))


@pytest.mark.parametrize("integer", [True, False], ids=["integer", "real"])
def test_ties_fall_as_in_the_reference(integer: bool) -> None:
    # Multiplying by the reciprocal instead of dividing would move many of these to the other side of the tie.
    scale = torch.linspace(0.01, 3.0, 200)
    x = (torch.arange(-120, 120) + 0.5) * scale[:, None]
    zero_point = torch.arange(200).remainder(5).float()
    fast = fused.fake_quantize(x, scale, zero_point, Grid(8), integer, 0)
    slow = reference.fake_quantize(x, scale[:, None], zero_point[:, None], Grid(8), integer)
    assert torch.equal(fast, slow)


def test_float64_takes_the_reference() -> None:
    x = torch.randn(2, 8, 30, dtype=torch.float64)
    scale, zero = torch.tensor([0.1], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    got = fused.fake_quantize(x, scale, zero, Grid(4), True)
    assert torch.equal(got, reference.fake_quantize(x, scale, zero, Grid(4), True))


def test_reductions_of_a_large_tensor_are_exact_to_a_millionth() -> None:
    x = torch.randn(4, 64, 60, 60)
    gradient = torch.rand(x.shape)  # of one sign: nothing cancels
    scale, zero_point = torch.tensor([0.2], requires_grad=True), torch.tensor([-2.0], requires_grad=True)
    fast = torch.autograd.grad(fused.fake_quantize(x, scale, zero_point, Grid(4), True), (scale, zero_point), gradient)
    wide = [t.detach().double().requires_grad_() for t in (scale, zero_point)]
    ratio = (x / scale.detach()).double()  # rounded as in float32
    exact = reference.fake_quantize(ratio * wide[0].detach(), *wide, Grid(4), True)
    expected = torch.autograd.grad(exact, wide, gradient.double())
    for got, truth in zip(fast, expected, strict=True):
        assert got.item() == pytest.approx(truth.item(), rel=1e-5)
    assert fast[1].item() == pytest.approx(expected[1].item(), rel=1e-6)


def test_one_kernel_each_way_serves_all_shapes_widths_and_layouts() -> None:
    from torch._dynamo.utils import counters

    x = LAYOUTS["contiguous"]()
    both(x, 8, 1, 4, True)
    before = counters["stats"]["unique_graphs"]
    for index, make in enumerate(LAYOUTS.values()):
        if make is LAYOUTS["long rows"]:  # a large prime: the one case of a second kernel
            continue
        for bits in (2, 8):
            for integer in (True, False):
                both(make(), 8, 1, bits, integer, seed=index)
                both(make(), 1, None, bits, integer, seed=index)
    both(torch.randn(2, 64, 40, 50), 1, None, 4, True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        both_ways = fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True)
    assert both_ways.dtype == torch.float32
    assert counters["stats"]["unique_graphs"] == before


def test_kernels_that_torch_has_dropped_are_compiled_as_they_were() -> None:
    """A strict export resets the compiler: what comes next must not be compiled for the shape that comes first."""
    from torch._dynamo.utils import counters

    x = LAYOUTS["contiguous"]()
    expected = both(x, 8, 1, 4, True)[0]
    torch.export.export(torch.nn.Linear(2, 2), (torch.rand(3, 2),), strict=True)
    assert all(torch.equal(one, two) for one, two in zip(both(x, 8, 1, 4, True)[0], expected, strict=True))
    before = counters["stats"]["unique_graphs"]
    for name in ("heads", "channels_last", "weight"):
        both(LAYOUTS[name](), 8, 1, 4, True)
        both(LAYOUTS[name](), 1, None, 8, False)
    assert counters["stats"]["unique_graphs"] == before


def test_the_result_keeps_the_memory_order() -> None:
    for name in ("contiguous", "heads", "keys", "channels_last"):
        x = LAYOUTS[name]()
        result = fused.fake_quantize(x, torch.ones(8), torch.zeros(8), Grid(4), True, 1)
        assert result.stride() == x.stride(), name


@pytest.mark.parametrize("name", ["contiguous", "heads", "keys", "channels_last", "weight"])
def test_dense_tensors_are_read_without_a_copy(name: str) -> None:
    x = LAYOUTS[name]()
    rows = layout.rows_of(x, 1, None)
    assert rows is not None
    assert rows.read(x).data_ptr() == x.data_ptr()
    assert torch.equal(rows.write(rows.read(x)), x)


@given(st.integers(2, 9), st.integers(1, 5), st.integers(2, 40))
def test_rows_spread_and_gather_scales(size: int, outer: int, inner: int) -> None:
    x = torch.arange(size).float().view(1, size, 1).expand(outer, size, inner).contiguous()
    rows = layout.rows_of(x, size, 1)
    assert rows is not None
    spread = rows.spread(torch.arange(size).float())
    assert torch.equal(rows.read(x), spread[:, None].expand(-1, rows.length))
    counts = rows.gather(torch.full_like(spread, float(rows.length)))
    assert counts.tolist() == [outer * inner] * size


def test_a_wrong_number_of_scales_is_an_error() -> None:
    with pytest.raises(ValueError, match="scales"):
        fused.fake_quantize(torch.randn(2, 6, 50), torch.ones(5), torch.zeros(5), Grid(4), True, 1)
    with pytest.raises(ValueError, match="axis"):
        fused.fake_quantize(torch.randn(2, 6, 50), torch.ones(6), torch.zeros(6), Grid(4), True)


def test_only_the_inputs_are_saved_and_nothing_without_gradients() -> None:
    x = torch.randn(4, 64, requires_grad=True)
    scale, zero = torch.ones(1), torch.zeros(1)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        with torch.no_grad():
            assert fused.fake_quantize(x, scale, zero, Grid(4), True).grad_fn is None
        assert not fused.fake_quantize(x.detach(), scale, zero, Grid(4), True).requires_grad
        assert saved == []
        fused.fake_quantize(x, scale, zero, Grid(4), True)
    assert [tuple(t.shape) for t in saved] == [(4, 64), (1,), (1,)]


def test_threads_do_not_change_the_result() -> None:
    x = torch.randn(4, 16, 50, 50)
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(both(x, 16, 1, 4, True)[0])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_counting_modes_and_inference_mode_work() -> None:
    x = torch.randn(4, 64)
    expected = fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True)
    with FlopCounterMode(display=False):
        assert torch.equal(fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True), expected)
    with torch.inference_mode():
        assert torch.equal(fused.fake_quantize(x, torch.ones(1), torch.zeros(1), Grid(4), True), expected)


def test_the_compiler_stays_quiet() -> None:
    kernels.warmed.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both(torch.randn(4, 64), 1, None, 4, True)


def test_another_default_dtype_changes_nothing() -> None:
    x, one, zero = torch.randn(4, 64), torch.ones(1), torch.zeros(1)
    expected = fused.fake_quantize(x, one, zero, Grid(5), True)
    kernels.grid_tensor.cache_clear()
    kernels.warmed.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        got = fused.fake_quantize(x, one, zero, Grid(5), True)
    finally:
        torch.set_default_dtype(torch.float32)
        kernels.grid_tensor.cache_clear()
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)
