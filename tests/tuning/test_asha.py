"""The scheduler after a restart, against one that saw everything."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from nas.journal import Log
from nas.tuning import AshaConfig
from nas.tuning.asha import RememberingAsha

VALUES = {"a": (0.5, 0.6), "b": (0.7, 0.8), "c": (0.6, 0.9), "d": (0.65, 0.7)}


def trial(label: str, *, is_finished: bool = False) -> Any:
    return SimpleNamespace(trial_id=f"id-{label}", config={"label": label}, is_finished=lambda: is_finished)


def report(scheduler: RememberingAsha, one: Any, mark: float, value: float) -> Any:
    return scheduler.on_trial_result(None, one, {"mark": mark, "value": value})


@pytest.fixture
def fresh(tmp_path: Path) -> RememberingAsha:
    return RememberingAsha(tmp_path, AshaConfig(), "max")


def test_the_better_half_goes_on(fresh: RememberingAsha) -> None:
    trials = {label: trial(label) for label in VALUES}
    for one in trials.values():
        fresh.on_trial_add(None, one)
    said = {label: report(fresh, trials[label], 0.25, VALUES[label][0]) for label in VALUES}
    stop, go = TrialScheduler.STOP, TrialScheduler.CONTINUE
    assert said == {"a": go, "b": go, "c": go, "d": go}
    late = trial("e")
    fresh.on_trial_add(None, late)
    assert report(fresh, late, 0.25, 0.55) == stop
    assert report(fresh, trials["b"], 1.0, 0.8) == stop, "the end is the end"


def test_a_restarted_one_judges_by_what_was_reached_before(tmp_path: Path) -> None:
    for label, (first, second) in VALUES.items():
        log = Log(tmp_path / label / "val.jsonl")
        log.path.parent.mkdir()
        log.append({"mark": 0.25, "value": first, "seconds": 1.0})
        log.append({"mark": 0.5, "value": second, "seconds": 2.0})
    scheduler = RememberingAsha(tmp_path, AshaConfig(), "max")
    ended = [trial(label, is_finished=True) for label in ("a", "b", "c")]
    going, new = trial("d"), trial("e")
    for one in (*ended, going, new):
        scheduler.on_trial_add(None, one)
    assert report(scheduler, going, 0.5, VALUES["d"][1]) == TrialScheduler.STOP, "0.6, 0.8 and 0.9 are known"
    assert report(scheduler, new, 0.25, 0.61) == TrialScheduler.STOP, "d's first mark counts, too"


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    scheduler = RememberingAsha(tmp_path, AshaConfig(), "min")
    for label, value, said in (("a", 1.0, TrialScheduler.CONTINUE), ("b", 2.0, TrialScheduler.STOP)):
        one = trial(label)
        scheduler.on_trial_add(None, one)
        assert report(scheduler, one, 0.25, value) == said
