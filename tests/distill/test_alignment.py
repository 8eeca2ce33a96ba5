"""Query alignment against numpy: the equation, the least squares fit, the modes."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from qrecipe.distill import QueryAlignment
from qrecipe.errors import CalibrationError

HEADS, WIDTH = 3, 4
PER: list[Literal["head", "query"]] = ["head", "query"]
LAYOUTS: list[Literal["bhld", "bld"]] = ["bhld", "bld"]


def to_layout(split: Tensor, layout: str) -> Tensor:
    """(batch, queries, heads, head_dim) to the layout."""
    return split.transpose(1, 2).contiguous() if layout == "bhld" else split.flatten(-2)


def from_layout(query: Tensor, layout: str) -> Tensor:
    return query.transpose(1, 2) if layout == "bhld" else query.unflatten(-1, (HEADS, WIDTH))  # type: ignore[no-untyped-call]


def queries(seed: int, batch: int = 2, length: int = 50, dtype: torch.dtype = torch.float64) -> Tensor:
    """Correlated, shifted, differently scaled channels: a pre-trained query, not a standardised one."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, length, HEADS, WIDTH, generator=generator, dtype=torch.float64)
    mix = torch.randn(HEADS, WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    shift = 2 * torch.randn(HEADS, WIDTH, generator=generator, dtype=torch.float64)
    return (torch.einsum("blhd,hde->blhe", raw, mix) + shift).to(dtype)


def slow_standard(split: np.ndarray[Any, Any], per: str) -> np.ndarray[Any, Any]:
    out = np.empty_like(split)
    for b in range(split.shape[0]):
        for token in range(split.shape[1]):
            for h in range(HEADS):
                group = split[b, token, h] if per == "head" else split[b, token]
                mean = group.sum() / group.size
                variance = ((group - mean) ** 2).sum() / group.size
                out[b, token, h] = (split[b, token, h] - mean) / math.sqrt(variance + 1e-5)
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("per", PER)
def test_on_is_the_equation(per: Literal["head", "query"], layout: Literal["bhld", "bld"]) -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, per, layout).double()
    with torch.no_grad():
        alignment.gamma.copy_(torch.randn(HEADS, WIDTH))
        alignment.beta.copy_(torch.randn(HEADS, WIDTH))
    split = queries(0)
    expected = slow_standard(split.numpy(), per) * alignment.gamma.detach().numpy() + alignment.beta.detach().numpy()
    query = to_layout(split, layout)
    found = alignment(query)
    assert found.shape == query.shape
    torch.testing.assert_close(from_layout(found, layout), torch.from_numpy(expected), atol=1e-12, rtol=0)
    torch.testing.assert_close(alignment.eval()(query), found, atol=0, rtol=0)


def test_off_and_observe_change_nothing() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bld")
    query = to_layout(queries(1, dtype=torch.float32), "bld")
    for mode in ("off", "observe"):
        alignment.mode = mode
        assert alignment(query) is query


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("per", PER)
def test_fit_is_numpys_least_squares(per: Literal["head", "query"], layout: Literal["bhld", "bld"]) -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, per, layout).double()
    alignment.mode = "observe"
    batches = [queries(2), queries(2, batch=1, length=7), queries(2, batch=3)]
    for batch in batches:
        alignment(to_layout(batch, layout))
    alignment.fit()
    q = np.concatenate([batch.numpy().reshape(-1, HEADS, WIDTH) for batch in batches])
    s = np.concatenate([slow_standard(batch.numpy(), per).reshape(-1, HEADS, WIDTH) for batch in batches])
    fitted = np.empty_like(q)
    for h in range(HEADS):
        for d in range(WIDTH):
            design = np.stack([s[:, h, d], np.ones(len(s))], axis=1)
            (gamma, beta), *_ = np.linalg.lstsq(design, q[:, h, d], rcond=None)
            assert alignment.gamma[h, d].item() == pytest.approx(gamma, abs=1e-8)
            assert alignment.beta[h, d].item() == pytest.approx(beta, abs=1e-8)
            fitted[:, h, d] = design @ np.array([gamma, beta])
    assert alignment.residual == pytest.approx(((fitted - q) ** 2).sum() / (q**2).sum(), abs=1e-10)


@pytest.mark.parametrize("per", PER)
def test_fit_is_better_than_identity_and_than_its_neighbours(per: Literal["head", "query"]) -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, per, "bld").double()
    query = to_layout(queries(3), "bld")
    alignment.mode = "observe"
    alignment(query)
    alignment.mode = "on"

    def error() -> float:
        with torch.no_grad():
            return float((alignment(query) - query).square().sum() / query.square().sum())

    alignment.initialise("identity")
    assert alignment.residual == pytest.approx(error(), rel=1e-9)
    identity = error()
    alignment.initialise("fit")
    assert alignment.residual == pytest.approx(error(), rel=1e-9)
    best = error()
    assert best < identity
    for parameter in (alignment.gamma, alignment.beta):
        for step in (-1e-2, 1e-2):
            with torch.no_grad():
                parameter[1, 2] += step
                assert error() > best
                parameter[1, 2] -= step


def test_a_query_that_is_already_aligned_is_fitted_exactly() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bld").double()
    made = QueryAlignment("b", HEADS, WIDTH, "head", "bld").double()
    # Standardised first: then the second standardisation finds mean 0 and variance 1, but for eps.
    standard = torch.from_numpy(slow_standard(queries(4).numpy(), "head")).flatten(-2)
    alignment.mode = "observe"
    alignment(standard)
    alignment.fit()
    assert alignment.residual is not None
    assert alignment.residual < 1e-8
    torch.testing.assert_close(alignment.gamma, made.gamma, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_constant_channel_gets_gamma_one_and_the_mean_that_is_left(dtype: torch.dtype) -> None:
    one = QueryAlignment("one channel", 2, 1, "head", "bld")  # a single channel standardises to 0
    query = torch.tensor([[[1.0, 3.0], [2.0, -5.0]]], dtype=dtype)
    one.mode = "observe"
    one(query)
    one.fit()
    assert one.gamma.tolist() == [[1.0], [1.0]]
    assert one.beta.tolist() == [[1.5], [-1.0]]

    same = QueryAlignment("one token", 1, 4, "head", "bld")  # the same token over and over
    query = torch.tensor([0.3, -1.7, 2.2, 0.1], dtype=dtype).expand(2, 9, 4)
    same.mode = "observe"
    same(query)
    same.fit()
    assert same.gamma.tolist() == [[1.0] * 4]
    same.mode = "on"
    found = same(query)
    assert found.dtype is dtype
    torch.testing.assert_close(found, query)
    assert same.residual == pytest.approx(0, abs=1e-6)


def test_rounding_noise_is_not_a_slope() -> None:
    alignment = QueryAlignment("one token", 1, 4, "head", "bld").double()
    token = torch.tensor([0.3, -1.7, 2.2, 0.1], dtype=torch.float64)
    noise = torch.randn(1, 64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alignment.mode = "observe"
    alignment(token * (1 + 1e-7 * noise))
    alignment.fit()
    assert alignment.gamma.tolist() == [[1.0] * 4]


def test_all_zero_queries_stay_zero() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "query", "bld")
    query = torch.zeros(1, 5, HEADS * WIDTH)
    alignment.mode = "observe"
    alignment(query)
    alignment.fit()
    alignment.mode = "on"
    assert not alignment(query).any()
    assert alignment.residual == 0


def test_fit_without_data_names_the_alignment() -> None:
    alignment = QueryAlignment("decoder.layers.0.encoder_attn", HEADS, WIDTH, "head", "bld")
    with pytest.raises(CalibrationError, match=r"decoder\.layers\.0\.encoder_attn.*saw no data"):
        alignment.fit()
    alignment.mode = "observe"
    alignment(torch.zeros(0, 5, HEADS * WIDTH))
    with pytest.raises(CalibrationError, match="saw no data"):
        alignment.initialise("fit")
    alignment(torch.ones(1, 5, HEADS * WIDTH))
    alignment.reset()
    with pytest.raises(CalibrationError, match="saw no data"):
        alignment.fit()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_name_the_alignment(value: float) -> None:
    alignment = QueryAlignment("decoder.layers.1", HEADS, WIDTH, "head", "bld")
    query = to_layout(queries(5, dtype=torch.float32), "bld")
    query[0, 3, 2] = value
    alignment.mode = "observe"
    alignment(query)
    with pytest.raises(CalibrationError, match=r"decoder\.layers\.1.*not finite"):
        alignment.fit()
    torch.testing.assert_close(alignment.gamma.detach(), torch.ones(HEADS, WIDTH))


def test_identity_without_data_has_no_residual() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bld")
    alignment.initialise("identity")
    assert alignment.residual is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("per", PER)
def test_gradients(per: Literal["head", "query"], layout: Literal["bhld", "bld"]) -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, per, layout).double()

    def run(query: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return torch.func.functional_call(alignment, {"gamma": gamma, "beta": beta}, (query,))

    query = to_layout(queries(6, batch=1, length=3), layout).requires_grad_()
    gamma = torch.randn(HEADS, WIDTH, dtype=torch.float64, requires_grad=True)
    beta = torch.randn(HEADS, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (query, gamma, beta))


def test_a_constant_query_has_finite_gradients() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bld")
    query = torch.ones(1, 2, HEADS * WIDTH, requires_grad=True)
    alignment(query).square().sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_state_and_copies() -> None:
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bld")
    query = to_layout(queries(7, dtype=torch.float32), "bld")
    alignment.mode = "observe"
    alignment(query)
    assert set(alignment.state_dict()) == {"gamma", "beta"}
    assert not list(alignment.buffers())
    twin = copy.deepcopy(alignment)
    twin.fit()
    assert torch.equal(alignment.gamma, torch.ones(HEADS, WIDTH))
    alignment.float().fit()
    assert torch.equal(alignment.gamma, twin.gamma)
    other = QueryAlignment("a", HEADS, WIDTH, "head", "bld")
    other.load_state_dict(alignment.state_dict())
    alignment.mode = "on"
    assert torch.equal(other(query), alignment(query))
    assert alignment.gamma.requires_grad


def test_large_offsets_do_not_spoil_the_fit() -> None:
    """Sums in float64: a mean of 1000 against a spread of 1 would cost float32 everything."""
    alignment = QueryAlignment("a", 1, 4, "head", "bld").double()
    generator = torch.Generator().manual_seed(0)
    shift = torch.tensor([1000.0, 1001.0, 999.0, 1002.0], dtype=torch.float64)
    q = torch.randn(1, 4000, 4, generator=generator, dtype=torch.float64) + shift
    alignment.mode = "observe"
    for part in q.split(500, dim=1):
        alignment(part)
    alignment.fit()
    alignment.mode = "on"
    error = (alignment(q) - q).square().sum() / q.square().sum()
    assert alignment.residual == pytest.approx(error.item(), rel=1e-6)


def test_it_exports_with_dynamic_shapes() -> None:
    for layout, sizes in (("bld", (2, 5, HEADS * WIDTH)), ("bhld", (2, HEADS, 5, WIDTH))):
        alignment = QueryAlignment("a", HEADS, WIDTH, "head", layout)  # type: ignore[arg-type]
        length = 1 if layout == "bld" else 2
        dynamic = {0: torch.export.Dim("batch"), length: torch.export.Dim("queries")}
        exported = torch.export.export(alignment, (torch.randn(sizes),), dynamic_shapes=(dynamic,), strict=False)
        other = list(sizes)
        other[0], other[length] = 3, 8
        query = torch.randn(other)
        torch.testing.assert_close(exported.module()(query), alignment(query), atol=0, rtol=0)


def test_mistakes_of_the_caller() -> None:
    with pytest.raises(ValueError, match="per is"):
        QueryAlignment("a", 1, 1, "channel", "bld")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layout is"):
        QueryAlignment("a", 1, 1, "head", "lbd")  # type: ignore[arg-type]
    alignment = QueryAlignment("a", HEADS, WIDTH, "head", "bhld")
    with pytest.raises(ValueError, match="mode is"):
        alignment.mode = "learn"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="initialise with"):
        alignment.initialise("zero")  # type: ignore[arg-type]
    for shape in ((2, 5, HEADS, WIDTH), (2, 5, HEADS * WIDTH), (2, HEADS, 5, WIDTH + 1)):
        with pytest.raises(ValueError, match="does not fit"):
            alignment(torch.zeros(shape))
    with pytest.raises(ValueError, match="does not fit"):
        QueryAlignment("a", HEADS, WIDTH, "head", "bld")(torch.zeros(2, HEADS, 5, WIDTH))
