"""What every predictor must do, whatever it was fitted with."""

import random

import numpy as np
import pytest

from nas.arch import Arch
from nas.errors import ConfigError, MeasurementError
from nas.predict import LatencyPredictor, PredictConfig, fit_predictor, transfer
from nas.profiling.table import Row
from nas.space import SearchSpace, load_space, sample
from tests.predict.tables import costed, table
from tests.spaces import DIGITS, raw

KINDS = ("plain", "parts", "ridge", "trees", "transferred")


def space_with(*without: str) -> SearchSpace:
    values = raw("digits_tiny")
    for name in without:
        values["stages"][0]["block"]["operators"].pop(name)
    return load_space(values)


SPACE, POORER = space_with(), space_with("linear")


def fitted(kind: str) -> LatencyPredictor:
    """Of the whole space, from rows that never hold linear attention."""
    rows = table(POORER, costed(POORER, DIGITS), nets=60, held_out=2, noise=0.03)
    if kind == "parts":
        return fit_predictor([row for row in rows if row.kind == "part"], SPACE, DIGITS)
    if kind == "transferred":
        return transfer(fit_predictor(rows, SPACE, DIGITS), _slower(rows), SPACE, DIGITS)
    config = PredictConfig(correction={"plain": "none"}.get(kind, kind))  # type: ignore[arg-type]
    predictor = fit_predictor(rows, SPACE, DIGITS, config)
    assert predictor.correction == config.correction
    return predictor


def _slower(rows: list[Row]) -> list[Row]:
    """Ten nets at twice the time."""
    nets = table(POORER, lambda part: 2 * costed(POORER, DIGITS)(part), nets=10, held_out=0, noise=0.02, seed=1)
    return [row for row in nets if row.kind == "net"]


@pytest.fixture(scope="module", params=KINDS)
def predictor(request: pytest.FixtureRequest) -> LatencyPredictor:
    return fitted(request.param)


@pytest.fixture(scope="module")
def archs() -> list[Arch]:
    rng = random.Random(5)
    return [POORER.smallest(), POORER.largest(), *(sample(POORER, rng) for _ in range(60))]


def test_finite_positive_float64(predictor: LatencyPredictor, archs: list[Arch]) -> None:
    ms = predictor.predict(archs)
    assert ms.shape == (len(archs),) and ms.dtype == np.float64
    assert np.isfinite(ms).all() and (ms > 0).all()


def test_same_again_in_any_order_and_one_by_one(predictor: LatencyPredictor, archs: list[Arch]) -> None:
    ms = predictor.predict(archs)
    assert np.array_equal(ms, predictor.predict(archs))
    np.testing.assert_allclose(predictor.predict(archs[::-1])[::-1], ms, rtol=1e-9)
    np.testing.assert_allclose([predictor.predict([arch])[0] for arch in archs], ms, rtol=1e-9)
    copies = [Arch.from_json(arch.to_json()) for arch in archs]
    np.testing.assert_allclose(predictor.predict(copies), ms, rtol=1e-9)


def test_nothing_asked_nothing_said(predictor: LatencyPredictor) -> None:
    low, high = predictor.interval([], 0.9)
    assert [values.shape for values in (predictor.predict([]), predictor.upper([], 0.9), low, high)] == [(0,)] * 4


def test_interval_holds_the_prediction_and_grows(predictor: LatencyPredictor, archs: list[Arch]) -> None:
    ms, before = predictor.predict(archs), np.zeros(len(archs))
    for confidence in (0.5, 0.8, 0.9, 0.99):
        low, high = predictor.interval(archs, confidence)
        assert (low > 0).all() and (low <= ms).all() and (ms <= high).all() and np.isfinite(high).all()
        assert (high - low >= before).all()
        before = high - low
    np.testing.assert_array_equal(predictor.interval(archs)[0], predictor.interval(archs, 0.9)[0])


def test_upper_bound_grows_with_confidence(predictor: LatencyPredictor, archs: list[Arch]) -> None:
    bounds = np.stack([predictor.upper(archs, confidence) for confidence in (0.5, 0.7, 0.9, 0.95, 0.999)])
    assert np.isfinite(bounds).all() and (bounds > 0).all() and (np.diff(bounds, axis=0) >= 0).all()
    assert (bounds[-1] > bounds[0]).all() and (bounds[-1] > predictor.predict(archs)).all()
    np.testing.assert_array_equal(predictor.upper(archs), bounds[2])


@pytest.mark.parametrize("confidence", [0.4, 1.0])
def test_confidence_that_is_none_is_refused(predictor: LatencyPredictor, archs: list[Arch], confidence: float) -> None:
    for ask in (predictor.interval, predictor.upper):
        with pytest.raises(ConfigError, match=f"at least 0.5 and below 1, got {confidence}"):
            ask(archs, confidence)


def test_operator_that_was_never_measured_is_refused(predictor: LatencyPredictor) -> None:
    for ask in (predictor.predict, predictor.interval, predictor.upper):
        with pytest.raises(MeasurementError, match=r"'linear' is not in the table.*nas profile"):
            ask([POORER.largest(), SPACE.largest("linear")])
