from dataclasses import replace

import numpy as np
import pytest

from nas.predict.conformal import Bounds

RNG = np.random.default_rng


def test_bounds_by_hand() -> None:
    # nine scores: nine tenths of ten is the ninth smallest, half of ten the fifth
    predicted, errors = np.ones(9), np.array([-0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.05])
    bounds = Bounds.of(predicted, np.exp(errors), np.ones(9, dtype=bool))
    assert bounds.power == 0.0
    later = replace(bounds, sitting=0.03).upper(np.ones(1), 0.9)
    assert later == pytest.approx(np.exp(np.hypot(0.05, 0.03 * 1.2815516)))
    bounds = replace(bounds, sitting=0.0)
    assert bounds.upper(np.array([2.0]), 0.9) == pytest.approx(2 * np.exp(0.05))
    assert bounds.upper(np.array([2.0]), 0.5) == pytest.approx(2.0)
    low, high = bounds.interval(np.array([2.0]), 0.9)
    assert (low[0], high[0]) == pytest.approx((2 * np.exp(-0.05), 2 * np.exp(0.05)))


def test_only_scored_nets_say_how_large_errors_are() -> None:
    errors, scored = np.array([1.0] * 9 + [0.01] * 9), np.array([False] * 9 + [True] * 9)
    bounds = replace(Bounds.of(np.ones(18), np.exp(errors), scored), sitting=0.0)
    assert bounds.upper(np.ones(1), 0.9) == pytest.approx(np.exp(0.01))


def test_without_nets_bounds_are_wide_and_with_few_beyond_the_largest_error() -> None:
    assert Bounds(np.zeros(0)).upper(np.ones(1), 0.9)[0] == pytest.approx(np.exp(0.3 * 1.2816), rel=1e-3)
    few = Bounds(np.array([-0.01, 0.0, 0.02]))
    assert few.upper(np.ones(1), 0.95)[0] > np.exp(0.02)
    assert np.isfinite(few.upper(np.ones(1), 0.999)).all()


@pytest.mark.parametrize("power", [-0.5, 0.0, 0.5])
def test_stated_share_is_observed_for_small_and_large_nets(power: float) -> None:
    inside, below, thirds = [], [], []
    for seed in range(40):
        draw = RNG(seed)
        predicted = np.exp(draw.uniform(-1, 1, 500))
        measured = predicted * np.exp(0.03 * predicted**power * draw.standard_normal(500))
        bounds = Bounds.of(predicted[:100], measured[:100], np.ones(100, dtype=bool))
        low, high = bounds.interval(predicted[100:], 0.9)
        held = (low <= measured[100:]) & (measured[100:] <= high)
        inside.append(held.mean())
        below.append((measured[100:] <= bounds.upper(predicted[100:], 0.9)).mean())
        order = np.argsort(predicted[100:])
        thirds.append([held[part].mean() for part in np.array_split(order, 3)])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015) and np.mean(below) == pytest.approx(0.9, abs=0.015)
    assert np.mean(thirds, axis=0) == pytest.approx([0.9] * 3, abs=0.03)
