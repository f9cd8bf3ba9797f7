import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from nas.searching.objectives import Objective
from nas.searching.optuna_mirror import OptunaMirror
from nas.searching.problem import Problem
from nas.space import ArchSpace, SearchSpace, as_space, sample
from tests.spaces import shipped

OBJECTIVES = (Objective("accuracy", "maximise"), Objective("params"))


@pytest.fixture
def space() -> SearchSpace:
    return shipped("digits_tiny")


@pytest.fixture
def problem(space: SearchSpace) -> Problem:
    return Problem(ArchSpace(space), OBJECTIVES)


def rows(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    archs = {arch.digest: arch for arch in (sample(space, rng) for _ in range(count))}.values()
    values = [{"accuracy": i / count, "params": 1000.0 - i, "latency_ms": 2.0} for i in range(len(archs))]
    return [
        {"arch": arch.to_dict(), "digest": arch.digest, "values": found, "origin": "nsga2", "seconds": 0.5}
        for arch, found in zip(archs, values, strict=True)
    ]


def study(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="main", storage=JournalStorage(JournalFileBackend(str(path))))


def test_optuna_opens_the_search_as_a_study_of_its_own(tmp_path: Path, problem: Problem, space: SearchSpace) -> None:
    evaluated = rows(space, 12)
    OptunaMirror(tmp_path / "optuna.log", "main", problem)([{"journal": 2}, {"claim": ["a"], "owner": "b"}, *evaluated])
    found = study(tmp_path / "optuna.log")
    assert [direction.name for direction in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.metric_names == ["accuracy", "params"]
    assert [trial.values for trial in found.trials] == [
        [r["values"]["accuracy"], r["values"]["params"]] for r in evaluated
    ]
    first, arch = found.trials[0], problem.space.read(evaluated[0]["arch"])
    assert first.params == problem.space.genes(arch)
    assert first.user_attrs == {"digest": arch.digest, "latency_ms": 2.0, "origin": "nsga2", "seconds": 0.5}
    assert [trial.number for trial in found.best_trials] == [len(evaluated) - 1]


def test_a_mirror_goes_on_without_repeats(tmp_path: Path, problem: Problem, space: SearchSpace) -> None:
    evaluated = rows(space, 12)
    OptunaMirror(tmp_path / "optuna.log", "main", problem)(evaluated[:5])
    again = OptunaMirror(tmp_path / "optuna.log", "main", problem)
    again(evaluated[:7])
    again(evaluated)
    digests = [trial.user_attrs["digest"] for trial in study(tmp_path / "optuna.log").trials]
    assert digests == [row["digest"] for row in evaluated]


def test_failures_are_failed_trials_and_parts_are_left_out(
    tmp_path: Path, problem: Problem, space: SearchSpace
) -> None:
    failed, part, odd, whole = rows(space, 4)
    failed |= {"error": "ValueError: no", "values": {}}
    part |= {"fidelity": 0.25}
    odd |= {"arch": {"stages": 3}}
    OptunaMirror(tmp_path / "optuna.log", "main", problem)([failed, part, odd, whole])
    found = study(tmp_path / "optuna.log").trials
    assert [trial.state for trial in found] == [TrialState.FAIL, TrialState.COMPLETE]
    assert found[0].user_attrs["error"] == "ValueError: no"


def test_plain_spaces_are_mirrored_as_well(tmp_path: Path) -> None:
    problem = Problem(as_space({"layers": [2, 4], "kind": ["a", "b"]}), OBJECTIVES)
    point = problem.space.point({"layers": 4, "kind": "b"})
    row = {"arch": point.to_dict(), "digest": point.digest, "values": {"accuracy": 0.5, "params": 3.0}}
    OptunaMirror(tmp_path / "optuna.log", "main", problem)([row])
    assert study(tmp_path / "optuna.log").trials[0].params == {"layers": 4, "kind": "b"}
