"""What calibration collects: exact statistics, whatever the batches; a bounded sample; clear errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qrecipe.errors import CalibrationError
from qrecipe.quantizers.calibration.observer import SAMPLE, SAMPLE_PER_SCALE, Observer
from qrecipe.quantizers.calibration.sampling import spread_sample


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 3), st.floats(-1000, 1000))
def test_statistics_of_batches_equal_those_of_all_values(batches: list[int], heads: int, shift: float) -> None:
    draw = torch.Generator().manual_seed(sum(batches))
    seen = [torch.randn(b, heads, 3 + b, 4, generator=draw) + shift for b in batches]
    observer = Observer("site", heads, 1, keep_all=False)
    for x in seen:
        observer.update(x, x.shape[0])
    result = observer.result()
    for head in range(heads):
        values = torch.cat([x[:, head].flatten() for x in seen]).double()
        assert result.minimum[head].item() == values.min().item()
        assert result.maximum[head].item() == values.max().item()
        assert result.mean[head].item() == pytest.approx(values.mean().item(), rel=1e-5, abs=1e-6)
        assert result.std[head].item() == pytest.approx(values.std(correction=0).item(), rel=1e-5)
        assert result.mean_magnitude[head].item() == pytest.approx(values.abs().mean().item(), rel=1e-5)
        assert sorted(result.sample[head].tolist()) == pytest.approx(sorted(values.tolist()))
    assert result.count == max(1, round(sum(x.numel() for x in seen) / heads / sum(batches)))


def test_count_is_of_one_sample_whatever_the_batch() -> None:
    for batch in (1, 2, 7):
        observer = Observer("site", 4, 1, keep_all=False)
        observer.update(torch.randn(batch, 4, 10, 6), batch)
        assert observer.result().count == 60


def test_the_sample_is_bounded_and_always_the_same() -> None:
    x = torch.randn(2, 8, 100, 90)
    kept = []
    for _ in range(2):
        observer = Observer("site", 8, 1, keep_all=False)
        observer.update(x, 2)
        observer.update(x[:1], 1)
        kept.append(observer.result().sample)
    assert torch.equal(*kept)
    assert kept[0].shape == (8, 2 * max(SAMPLE // 8, SAMPLE_PER_SCALE))


@given(st.integers(1, 400), st.integers(1, 60))
def test_the_sample_is_without_repeats(total: int, limit: int) -> None:
    sample = spread_sample(torch.arange(total).view(1, -1), limit)
    assert sample.shape == (1, min(total, limit))
    assert sample.unique().numel() == sample.numel()


def test_the_sample_meets_all_channels_of_a_regular_layout() -> None:
    channels = torch.arange(256).float().expand(2, 850, 256)  # every 256th value is the same channel's
    observer = Observer("site", 1, None, keep_all=False)
    observer.update(channels, 2)
    assert observer.result().sample.unique().numel() == 256


def test_a_weight_is_kept_whole_and_once() -> None:
    weight = torch.randn(6, 50, 30)
    observer = Observer("site", 6, 0, keep_all=True)
    observer.update(torch.randn(6, 50, 30), 1)
    observer.update(weight, 1)
    result = observer.result()
    assert torch.equal(result.sample, weight.view(6, -1))
    assert result.count == 1500
    assert torch.equal(result.maximum, weight.view(6, -1).amax(1))


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_values_that_are_not_finite_name_the_site(bad: float) -> None:
    x = torch.ones(2, 3)
    x[1, 1] = bad
    with pytest.raises(CalibrationError, match=r"decoder\.layers\.0\.fc1:input.*infinite or NaN"):
        Observer("decoder.layers.0.fc1:input", 1, None, keep_all=False).update(x, 2)


def test_nothing_seen_names_the_site() -> None:
    observer = Observer("decoder.layers.0", 1, None, keep_all=False)
    observer.update(torch.zeros(0, 3), 0)
    with pytest.raises(CalibrationError, match=r"decoder\.layers\.0: .*no data"):
        observer.result()


def test_a_narrow_tensor_is_measured_in_float32() -> None:
    observer = Observer("site", 1, None, keep_all=False)
    observer.update(torch.full((3, 1000), 1.0).bfloat16(), 3)
    result = observer.result()
    assert result.mean.dtype == torch.float32
    assert result.mean.item() == 1.0
