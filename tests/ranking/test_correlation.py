"""Rank correlations: scipy's on every resample, values by hand, and intervals that hold as often as they say."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nas.ranking.correlation import LEAST_NETS, Array, Estimate, kendall, resampled, spearman

ONCE = np.ones((1, 5))


def listed(values: Array, weights: Array) -> Array:
    return np.repeat(values, weights.astype(int))


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_every_resample_has_scipys_value(digits: int) -> None:
    rng = np.random.default_rng(digits)
    x = rng.normal(size=17).round(digits)
    y = (x + rng.normal(size=17)).round(digits)
    weights = resampled(17, 40, 0)
    taus, rhos = kendall(x, y, weights), spearman(x, y, weights)
    assert weights.shape == (41, 17) and (weights.sum(axis=1) == 17).all() and (weights[0] == 1).all()
    for row, tau, rho in zip(weights, taus, rhos, strict=True):
        assert tau == pytest.approx(kendalltau(listed(x, row), listed(y, row)).statistic)
        assert rho == pytest.approx(spearmanr(listed(x, row), listed(y, row)).statistic)


def test_values_by_hand() -> None:
    x, y = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 3, 2, 5, 4])
    assert kendall(x, y, ONCE)[0] == pytest.approx((8 - 2) / 10)
    assert spearman(x, y, ONCE)[0] == pytest.approx(1 - 6 * 4 / (5 * 24))
    tied = np.array([1.0, 1, 2, 3, 4])
    assert kendall(tied, x, ONCE)[0] == pytest.approx(9 / math.sqrt(9 * 10))


def test_only_pairs_that_belong_together_count() -> None:
    x, y = np.array([1.0, 2, 9, 8, 7]), np.array([1.0, 2, -9, -8, 7])
    label = np.array([0, 0, 1, 1, 1])
    found = kendall(x, y, ONCE, label[:, None] == label)[0]
    # (0, 1) agrees; (9, 8) does not; (9, 7) and (8, 7) do not
    assert found == pytest.approx((1 - 3) / 4)


def test_what_is_not_known_is_left_out() -> None:
    x, y = np.array([1.0, 2, np.nan, 4, 3]), np.array([1.0, 2, 3, np.inf, 4])
    few = kendall(x, y, ONCE), spearman(x, y, ONCE)
    assert all(np.isnan(found).all() for found in few), f"{LEAST_NETS} nets are needed and 3 have both"
    x[2] = 9.0
    assert kendall(x, y, ONCE)[0] == pytest.approx(kendalltau(x[[0, 1, 2, 4]], y[[0, 1, 2, 4]]).statistic)


def test_a_constant_side_has_no_value_and_no_warning() -> None:
    flat, y = np.full(5, 0.1), np.arange(5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [Estimate.of(measure(flat, y, resampled(5, 50, 0))) for measure in (kendall, spearman)]
    assert found == [Estimate(None, None, None)] * 2


def test_an_interval_needs_resamples_that_have_values() -> None:
    assert Estimate.of(np.array([0.5, np.nan, np.nan, np.nan, 0.4])) == Estimate(0.5, None, None)
    most = Estimate.of(np.array([0.5, np.nan, 0.4, 0.6]))
    assert most.value == 0.5 and most.low == pytest.approx(0.405) and most.high == pytest.approx(0.595)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_intervals_hold_about_as_often_as_they_say(rho: float) -> None:
    rng, true, held = np.random.default_rng(1), 2 / math.pi * math.asin(rho), 0
    for i in range(200):
        x = rng.normal(size=36)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=36)
        found = Estimate.of(kendall(x, y, resampled(36, 300, i)))
        assert found.low is not None and found.high is not None
        held += found.low <= true <= found.high
    assert 0.88 <= held / 200 <= 0.99
