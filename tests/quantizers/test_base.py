"""The module at a site: modes, calibration, N, gradients, bad optimizer steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrecipe.errors import CalibrationError, RecipeError
from qrecipe.quantizers import INITIALISERS, QUANTIZERS, QuantizedOperand, Quantizer, quantizer_class
from qrecipe.recipe.definition import QuantizerSpec
from qrecipe.recipe.names import Offset
from tests.quantizers.tiny_quantizers import activation, affine, calibrate, ready, weight


def test_every_row_of_the_table_builds_and_runs() -> None:
    x = torch.randn(2, 3, 40)
    assert QUANTIZERS
    for name, row in QUANTIZERS.items():
        assert issubclass(quantizer_class(name), Quantizer)
        assert quantizer_class(name).__final__  # type: ignore[attr-defined]
        for offset in row.offsets.get("activation", ()):
            quantizer = ready(name, 8, offset, x)
            assert quantizer.own_initialiser() in INITIALISERS
            assert (quantizer(x) - x).abs().mean() < 0.1
            learned = [parameter for parameter in quantizer.parameters() if parameter.requires_grad]
            assert learned == [parameter for step in quantizer.steps() for parameter in step.parameters]
            assert len(learned) == (0 if not row.trained else 1 if offset == "none" or name == "pact" else 2)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("offset", ["none", "integer", "real"])
def test_no_more_values_than_the_grid_has(bits: int, offset: Offset) -> None:
    x = torch.randn(4, 5000)
    quantizer = calibrate(activation("lsq+", bits, offset), x)
    assert quantizer(x).unique().numel() <= 2**bits
    integers = quantizer.integers(x)
    assert integers.dtype == torch.int32
    assert integers.min() >= quantizer.grid.lo
    assert integers.max() <= quantizer.grid.hi
    scale, zero_point = quantizer.scale_and_zero_point()
    torch.testing.assert_close(scale * (integers - zero_point), quantizer(x))
    encoding = quantizer.encoding()
    assert torch.equal(encoding.restore(integers), quantizer(x))
    assert encoding.integer == (offset != "real")
    assert encoding.zero_point.dtype == (torch.float32 if offset == "real" else torch.int32)
    assert (encoding.grid, encoding.axis, encoding.scale.requires_grad) == (quantizer.grid, None, False)
    if quantizer.offset is not None:  # a whole zero point rounds it, by less than a level
        assert (encoding.offset - quantizer.offset).abs() <= (0.51 if encoding.integer else 1e-5) * scale


def test_off_and_observe_are_the_identity() -> None:
    x = torch.randn(2, 3, 4)
    quantizer = activation()
    assert quantizer(x) is x
    quantizer.set_mode("observe")
    assert quantizer(x) is x
    with pytest.raises(ValueError, match="mode"):
        quantizer.set_mode("train")  # type: ignore[arg-type]


def test_quantizing_before_calibration_names_the_site() -> None:
    quantizer = activation()
    quantizer.set_mode("on")
    with pytest.raises(CalibrationError, match=r"decoder\.attention:query"):
        quantizer(torch.randn(2, 3))
    with pytest.raises(CalibrationError, match=r"decoder\.attention:query: .*no data"):
        quantizer.finish_calibration()


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_observing_values_that_are_not_finite_names_the_site(bad: float) -> None:
    quantizer = activation()
    quantizer.set_mode("observe")
    with pytest.raises(CalibrationError, match=r"decoder\.attention:query"):
        quantizer(torch.tensor([[1.0, bad]]))


def test_an_unknown_quantizer_lists_the_known() -> None:
    with pytest.raises(RecipeError, match=r'"kl".*lsq, lsq\+, minmax, mse'):
        activation("kl")


def test_count_of_activations_leaves_out_the_batch() -> None:
    for batch in (1, 3, 8):
        quantizer = calibrate(activation(heads=4), torch.randn(batch, 4, 10, 6))
        assert quantizer.count.item() == 60
    assert calibrate(activation(), torch.randn(2, 10, 6), torch.randn(6, 20, 6)).count.item() == 105


def test_count_with_folded_batch_and_without_one() -> None:
    quantizer = activation()
    quantizer.sample_count = 2  # (batch * heads, tokens, channels)
    assert calibrate(quantizer, torch.randn(16, 10, 6)).count.item() == 8 * 60
    spec = QuantizerSpec(4, "lsq+", "tensor", "integer")
    unbatched = affine(spec, QuantizedOperand("queries", (100, 64), None, 1, is_weight=False, batched=False))
    unbatched.sample_count = 2
    assert calibrate(unbatched, torch.randn(100, 64)).count.item() == 6400


def test_count_of_weights_is_per_channel() -> None:
    assert calibrate(weight(), torch.randn(6, 3, 5, 5)).count.item() == 75


@given(st.integers(0, 1000), st.sampled_from(["none", "integer", "real"]))
@settings(max_examples=30)
def test_gradients_of_scale_and_offset_are_lsqs(seed: int, offset: Offset) -> None:
    draw = torch.Generator().manual_seed(seed)
    batches = torch.randn(2, 5, 7, generator=draw) + 0.3
    quantizer = calibrate(activation("lsq+", 3, offset, init="minmax"), batches)
    with torch.no_grad():
        quantizer.scale.mul_(0.5)  # so that some values are clipped
    quantizer = quantizer.double()
    x = batches.double().requires_grad_()
    weights = torch.randn(x.shape, generator=draw, dtype=torch.float64)
    quantizer(x).backward(weights)
    s = quantizer.scale.item()
    z = 0.0 if quantizer.offset is None else quantizer.offset.item()
    exact = -z / s
    zero_point = exact if offset == "real" else float(min(max(round(exact), -128), 127))
    to_scale = to_offset = 0.0
    for value, g in zip(x.flatten().tolist(), weights.flatten().tolist(), strict=True):
        integer = round(value / s + zero_point) if offset == "real" else round(value / s) + zero_point
        bound = min(max(integer, -4), 3)
        if integer == bound:
            to_scale += g * (integer - zero_point - value / s)
        else:
            # d x_hat / d offset = 1, and through the zero point the scale's own gradient is the bound alone.
            to_scale += g * (bound - zero_point + exact)
            to_offset += g
    factor = 1 / math.sqrt(35 * 3)
    assert quantizer.scale.grad is not None
    assert quantizer.scale.grad.item() == pytest.approx(to_scale * factor, rel=1e-6, abs=1e-9)
    if quantizer.offset is not None:
        assert quantizer.offset.grad is not None
        assert quantizer.offset.grad.item() == pytest.approx(to_offset * factor, rel=1e-6, abs=1e-9)


def test_kinds_that_do_not_learn_pass_the_gradient_straight_through() -> None:
    x = torch.tensor([[-50.0, -1.0, 0.2, 1.0, 50.0]], requires_grad=True)
    quantizer = calibrate(activation("minmax"), x.detach()[:, 1:4])
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    assert quantizer.scale.grad is None


def test_heads_do_not_mix() -> None:
    x = torch.randn(2, 4, 9, 8) * torch.tensor([0.1, 1.0, 10.0, 100.0]).view(1, 4, 1, 1)
    together = calibrate(activation(heads=4), x)
    result = together(x)
    assert torch.equal(together.encoding().restore(together.integers(x)), result)
    for head in range(4):
        alone = calibrate(activation(heads=1), x[:, head : head + 1])
        torch.testing.assert_close(alone(x[:, head : head + 1]), result[:, head : head + 1])
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(together(transposed), result)


@pytest.mark.parametrize("offset", ["none", "integer", "real"])
@pytest.mark.parametrize("step", [-1.0, 1e3, -1e3, 1e20, 1.0])
def test_scales_stay_positive_after_bad_steps(offset: Offset, step: float) -> None:
    x = torch.randn(2, 50)
    quantizer = calibrate(activation("lsq+", 4, offset), x)
    with torch.no_grad():
        quantizer.scale.sub_(quantizer.scale * step)
    scale, zero_point = quantizer.scale_and_zero_point()
    assert (scale > 0).all()
    assert torch.isfinite(zero_point).all()
    result = quantizer(x)
    assert torch.isfinite(result).all()
    result.square().sum().backward()
    assert quantizer.scale.grad is not None
    assert torch.isfinite(quantizer.scale.grad).all()


def test_a_constant_and_a_zero_tensor_survive() -> None:
    for constant in (0.0, 2.5):
        x = torch.full((2, 9), constant)
        for name, row in QUANTIZERS.items():
            for offset in row.offsets.get("activation", ()):
                result = ready(name, 4, offset, x)(x)
                assert torch.isfinite(result).all()
                if constant == 0.0:
                    assert torch.equal(result, x)


def test_training_moves_the_scale_towards_less_error() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 400)
    quantizer = calibrate(activation("lsq+", 3, "integer", init="minmax"), x)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.01)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = (quantizer(x) - x).square().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.8 * errors[0]


def test_export_and_compile_see_plain_code() -> None:
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    quantizer = calibrate(activation(heads=4), x.detach())
    expected = quantizer(x)
    program = torch.export.export(quantizer, (x.detach(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(x.detach()), expected)
    traced = torch.compile(quantizer, backend="aot_eager", fullgraph=True)
    leaves = (x, quantizer.scale, quantizer.offset)
    got, want = (torch.autograd.grad(result.square().sum(), leaves) for result in (traced(x), expected))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_repr_speaks_the_papers_terms() -> None:
    assert "LSQ+ A4, integer zero point, 4 scales along dimension 1" in repr(activation(heads=4))
    assert "fc1:weight: LSQ W4, symmetric" in repr(weight())
