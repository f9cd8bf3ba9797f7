from pathlib import Path

import pytest

from nas.report import device
from nas.report.read import read
from nas.run import Run

CASE = {"digest": "x", "measured": 2.0, "predicted": 2.5, "low_ms": 1.9, "high_ms": 2.2, "blocks": "softmax h2"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.at(tmp_path)
    score = {"name": "predictor", "mape": 0.1, "within_5": 0.5, "within_10": 0.9, "tau": None}
    near = {**CASE, "digest": "y", "predicted": 2.02}
    card = {"cases": [near, CASE, {"measured": "no"}], "score": score, "baselines": [score]}
    card |= {"families": {"linear": [0.02, 4], "softmax": [0.3, 2], "odd": ["x", 1], "torn": 3}}
    card |= {"confidence": 0.9, "coverage": 0.88, "width": None, "noise_floor": 0.01}
    run.write_json("profile/card.json", card)
    run.write_json("profile/operators.json", {"linear": 1.3, "depthwise": 0.4, "never_heard_of": 1.0, "odd": "x"})
    return run


def test_calibration_and_scores(run: Run) -> None:
    held = device.calibration(read(run))[1]
    assert (held.measured, held.predicted, held.low_ms, held.high_ms) == (2.0, 2.5, 1.9, 2.2)
    scores = device.predictor_scores(read(run))
    assert [(s.mape, s.within_5, s.tau) for s in scores] == [(0.1, 0.5, None)] * 2


def test_families_and_worst_cases_come_worst_first(run: Run) -> None:
    errors = device.family_errors(read(run))
    assert [(e.family, e.mape, e.nets) for e in errors] == [("softmax", 0.3, 2), ("linear", 0.02, 4)]
    worst = device.worst_cases(read(run))
    assert [(w.net.digest, w.error, w.blocks) for w in worst] == [
        ("x", pytest.approx(0.25), "softmax h2"),
        ("y", pytest.approx(0.01), "softmax h2"),
    ]


def test_facts_that_are_not_known_are_left_out(run: Run) -> None:
    assert device.interval_facts(read(run)) == {"confidence": 0.9, "coverage": 0.88, "noise_floor": 0.01}


def test_operators_that_lose_everywhere_are_flagged(run: Run) -> None:
    found = device.operator_times(read(run))
    assert [(t.operator, t.family, t.loses) for t in found] == [
        ("depthwise", "convolution", False),
        ("never_heard_of", "", True),
        ("linear", "linear", True),
    ]


def test_an_empty_run_shows_nothing(tmp_path: Path) -> None:
    record = read(Run.at(tmp_path))
    for figure in (device.calibration, device.predictor_scores, device.family_errors, device.worst_cases):
        assert figure(record) == []
    assert device.operator_times(record) == [] and device.interval_facts(record) == {}


def test_crossovers_need_two_sizes(tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    run.write_json("profile/lengths.json", {"512": {"linear": 1.5}, "64": {}, "x": {"linear": 1.0}})
    assert device.crossovers(read(run)) == []
    run.write_json("profile/lengths.json", {"512": {"linear": 0.5, "odd": None}, "64": {"linear": 1.5}})
    assert [(one.operator, one.family, one.size, one.ratio) for one in device.crossovers(read(run))] == [
        ("linear", "linear", 64, 1.5),
        ("linear", "linear", 512, 0.5),
    ]
