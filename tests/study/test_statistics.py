"""Intervals of differences, against other ways to the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qrecipe.study.results import Mean
from qrecipe.study.statistics import bootstrap, paired
from tests.evaluation.test_matches import BOX, FOUND, IMAGES, PLACES, evaluated

VALUES = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=8)


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95]))
def test_the_paired_interval_is_the_t_test_s(values: list[float], confidence: float) -> None:
    found = paired(values, confidence)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.count, found.over, found.confidence) == (len(values), "seeds", confidence)
    assert found.low is not None
    assert found.high is not None
    if len(set(values)) == 1:
        assert (found.low, found.high) == pytest.approx((found.mean, found.mean))
        return
    whole = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high), abs=1e-9)
    p = stats.ttest_1samp(values, 0.0).pvalue
    if abs(p - (1 - confidence)) > 1e-6:
        assert found.is_clear == (p < 1 - confidence)


def test_a_single_pair_has_no_interval() -> None:
    found = paired([0.25])
    assert (found.mean, found.low, found.high, found.is_clear) == (0.25, None, None, False)
    with pytest.raises(ValueError, match="at least one"):
        paired([])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=6))
def test_mean_and_deviation(values: list[float | None]) -> None:
    found, known = Mean.of(values), [value for value in values if value is not None]
    if not known:
        assert found is None
        return
    assert found is not None
    assert (found.mean, found.count) == (pytest.approx(np.mean(known)), len(known))
    if len(known) == 1:
        assert found.deviation is None
    else:
        assert found.deviation == pytest.approx(np.std(known, ddof=1), abs=1e-12)


@settings(max_examples=10)
@given(st.lists(st.tuples(PLACES, BOX, st.sampled_from([3, 90]), st.just(0)), min_size=1, max_size=5), FOUND, FOUND)
def test_the_bootstrap_over_images(
    tmp_path_factory: pytest.TempPathFactory, boxes: Any, first: Any, second: Any
) -> None:
    """The reference evaluates every sample anew, its images written out as often as they were drawn."""
    path: Path = tmp_path_factory.mktemp("bootstrap") / "truth.json"
    one, other = evaluated(path, boxes, first), evaluated(path, boxes, second)
    found = bootstrap(one.matches, other.matches, 0.8, resamples=12)
    assert found is not None
    assert found.mean == pytest.approx(one.AP - other.AP, abs=1e-12)
    assert (found.count, found.over) == (IMAGES, "images")
    differences = []
    for draw in np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, size=12):
        pair = [evaluated(path, boxes, own, tuple(draw)).AP for own in (first, second)]
        if None not in pair:
            differences.append(pair[0] - pair[1])
    low, high = np.quantile(differences, (0.1, 0.9))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    back = bootstrap(other.matches, one.matches, 0.8, resamples=12)
    assert back is not None
    assert (-back.mean, -back.high, -back.low) == pytest.approx((found.mean, found.low, found.high), abs=1e-12)  # type: ignore[operator]


def test_a_model_beside_itself(tmp_path: Path) -> None:
    boxes, found = [(10, (1, 1, 20, 20), 3, 0)], [(10, (2, 1, 20, 20), 9, 3)]
    same = evaluated(tmp_path / "truth.json", boxes, found)
    result = bootstrap(same.matches, same.matches, resamples=50)
    assert result is not None
    assert (result.mean, result.low, result.high, result.is_clear) == (0, 0, 0, False)
    assert not math.isnan(result.mean)
    nothing = evaluated(tmp_path / "none.json", [], found)
    assert bootstrap(nothing.matches, nothing.matches, resamples=3) is None
    with pytest.raises(ValueError, match="other images"):
        bootstrap(same.matches, nothing.matches)
