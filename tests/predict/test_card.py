import json
import math
from dataclasses import replace

import numpy as np
import pytest

from nas.errors import MeasurementError
from nas.predict import ErrorCard, fit_predictor
from nas.predict.baseline import Baseline
from nas.predict.card import repeat_noise
from nas.predict.metrics import Score, mape, r_squared, relative_errors, tau, within
from tests.predict.tables import costed, row, table
from tests.spaces import DIGITS, shipped

MEASURED = np.array([1.0, 2.0, 4.0, 5.0])
PREDICTED = np.array([1.1, 1.9, 4.0, 3.5])


def test_metrics_by_hand() -> None:
    np.testing.assert_allclose(relative_errors(MEASURED, PREDICTED), [0.1, 0.05, 0.0, 0.3])
    assert mape(MEASURED, PREDICTED) == pytest.approx(0.1125)
    assert within(MEASURED, PREDICTED, 0.0501) == 0.5 and within(MEASURED, PREDICTED, 0.1001) == 0.75
    # residuals .01 + .01 + 0 + 2.25 over deviations 4 + 1 + 1 + 4 from the mean of 3
    assert r_squared(MEASURED, PREDICTED) == pytest.approx(1 - 2.27 / 10)
    # of six pairs only (4.0, 5.0) is in the wrong order
    assert tau(MEASURED, PREDICTED) == pytest.approx((5 - 1) / 6)


def test_metrics_without_rows_are_nan() -> None:
    none = np.zeros(0)
    assert all(math.isnan(value) for value in (mape(none, none), within(none, none, 0.1), r_squared(none, none)))
    assert math.isnan(tau(none, none)) and math.isnan(r_squared(np.ones(3), np.ones(3)))


def test_repeat_noise_by_hand() -> None:
    arch = shipped("digits_tiny").smallest()
    pair = [row("a", 1.0, split="held_out", arch=arch), row("a", 1.2, split="repeat", arch=arch)]
    assert repeat_noise(pair) == pytest.approx(0.2 / 1.1 / math.sqrt(2))
    assert math.isnan(repeat_noise(pair[:1]))


def test_baseline_takes_the_better_form() -> None:
    x = np.arange(1.0, 41.0)
    line = Baseline.fit("flops", x, 3.0 + 2.0 * x)
    assert line.form == "line"
    np.testing.assert_allclose(line.predict(np.array([0.0, 50.0])), [3.0, 103.0])
    step = Baseline.fit("flops", x, np.where(x < 20, 1.0, 9.0))
    assert step.form == "monotone"
    np.testing.assert_allclose(step.predict(np.array([5.0, 100.0])), [1.0, 9.0])


@pytest.fixture(scope="module")
def card() -> ErrorCard:
    space = shipped("digits_tiny")
    rows = table(space, costed(space, DIGITS), nets=40, held_out=20, noise=0.03)
    first = next(r for r in rows if r.split == "held_out")
    rows.append(replace(first, split="repeat", median_ms=first.median_ms * 1.02))
    return ErrorCard.of(fit_predictor(rows, space, DIGITS), rows, space, DIGITS)


def test_card_judges_held_out_nets_beside_baselines(card: ErrorCard) -> None:
    assert (card.held_out, card.fitted) == (20, 40) and len(card.cases) == 20
    assert [base.name for base in card.baselines] == ["params", "flops", "activations", "depth"]
    assert card.score.mape < min(base.mape for base in card.baselines)
    errors = [case.error for case in card.cases]
    assert errors == sorted(errors, reverse=True) and card.score.mape == pytest.approx(np.mean(errors))
    assert card.score.within_10 == np.mean(np.array(errors) <= 0.1)
    assert card.noise_floor == pytest.approx(0.02 / 1.01 / math.sqrt(2))
    assert set(card.families) <= {"softmax", "sparse", "linear", "convolution"}
    assert all(0 < count <= 20 for _, count in card.families.values())


def test_card_as_figures_data_and_text(card: ErrorCard) -> None:
    figures = card.figures()
    assert figures["predictor.mape"] == card.score.mape and figures["predictor.held_out"] == 20
    assert {
        "predictor.within_5",
        "predictor.within_10",
        "predictor.tau",
        "predictor.r2",
        "predictor.noise_floor",
        "predictor.baseline.params.mape",
        "predictor.baseline.flops.mape",
        "predictor.baseline.activations.mape",
        "predictor.baseline.depth.mape",
        "predictor.coverage",
        "predictor.upper_coverage",
        "predictor.width",
    } <= set(figures)
    assert json.loads(json.dumps(card.to_dict()))["cases"][0]["digest"] == card.cases[0].digest
    text = card.text()
    assert f"{card.score.mape:.1%}" in text and f"worst {card.cases[0].digest}" in text
    assert "below the best one-feature baseline" in text and f"intervals of 90% hold {card.coverage:.0%}" in text
    assert text.count("\n") < 24 and "unknown" in replace(card, noise_floor=math.nan).text()


def test_perfect_score() -> None:
    assert Score.of("x", MEASURED, MEASURED) == Score(name="x", mape=0.0, within_5=1.0, within_10=1.0, r2=1.0, tau=1.0)


def test_card_without_held_out_nets_is_refused() -> None:
    space = shipped("digits_tiny")
    rows = table(space, costed(space, DIGITS), nets=10, held_out=1)
    with pytest.raises(
        MeasurementError, match="two held-out nets or more, the table has 1: raise profile.held_out_nets"
    ):
        ErrorCard.of(fit_predictor(rows, space, DIGITS), rows, space, DIGITS)


def test_card_states_and_observes_the_intervals(card: ErrorCard) -> None:
    assert card.confidence == 0.9 and 0.7 < card.coverage <= 1 and 0.7 < card.upper_coverage <= 1
    assert 0.03 < card.width < 0.4
    best = min(base.mape for base in card.baselines)
    assert card.below_baseline == pytest.approx(1 - card.score.mape / best) and card.below_baseline > 0
    assert math.isnan(replace(card, baselines=()).below_baseline)
