from dataclasses import replace
from typing import Any

import pytest

from nas.searching.archive import Evaluation
from nas.searching.executor import Task
from nas.searching.fidelity import PAIRS, Ladder
from nas.searching.objectives import Constraint
from nas.searching.problem import Problem


def result(point: Any, quality: float, cost: float, fidelity: float = 1.0, error: str = "") -> Evaluation:
    values = {} if error else {"quality": quality, "cost": cost}
    return Evaluation(point=point, values=values, origin="x", seconds=0.0, fidelity=fidelity, error=error)


@pytest.fixture
def points(plain: Problem) -> list[Any]:
    return [point for _, point in zip(range(40), plain.space.every(), strict=False)]


def taught(problem: Problem, points: list[Any], noise: float = 0.0) -> Ladder:
    """Knows that low fidelity sees 1 too little of quality, give or take, and that (10, 10) exists."""
    ladder = Ladder(problem, (0.25, 1.0))
    for i, point in enumerate(points[:PAIRS]):
        ladder.climb(result(point, 9.0 + noise * (-1) ** i, 10.0, 0.25))
        ladder.climb(result(point, 10.0, 10.0))
    return ladder


def test_one_rung_has_nothing_to_climb(plain: Problem, points: list[Any]) -> None:
    assert Ladder(plain).climb(result(points[0], 1.0, 1.0)) is None
    assert Ladder(plain).first == 1.0


def test_the_first_points_climb_whatever_they_are(plain: Problem, points: list[Any]) -> None:
    ladder = Ladder(plain, (0.1, 0.5, 1.0))
    assert ladder.first == 0.1
    assert ladder.climb(result(points[0], 1.0, 1.0, 0.1)) == Task(points[0], 0.5)
    assert ladder.climb(result(points[0], 1.0, 1.0, 0.5)) == Task(points[0], 1.0)
    assert ladder.climb(result(points[0], 1.0, 1.0)) is None


def test_dominated_points_stay_below(plain: Problem, points: list[Any]) -> None:
    ladder = taught(plain, points)
    assert ladder.climb(result(points[20], 8.0, 11.0, 0.25)) is None
    assert ladder.climb(result(points[21], 9.5, 11.0, 0.25)) == Task(points[21], 1.0)
    assert ladder.climb(result(points[22], 2.0, 3.0, 0.25)) == Task(points[22], 1.0)


def test_the_error_of_low_fidelity_gives_the_benefit_of_the_doubt(plain: Problem, points: list[Any]) -> None:
    sure, unsure = taught(plain, points), taught(plain, points, noise=1.0)
    worse = result(points[20], 7.5, 11.0, 0.25)
    assert sure.climb(worse) is None
    assert unsure.climb(worse) == Task(points[20], 1.0)


def test_failures_do_not_climb(plain: Problem, points: list[Any]) -> None:
    assert Ladder(plain, (0.25, 1.0)).climb(result(points[0], 0.0, 0.0, 0.25, error="x")) is None


def test_what_breaks_a_constraint_stands_in_nobodys_way(plain: Problem, points: list[Any]) -> None:
    dear = result(points[20], 8.0, 11.0, 0.25)
    strict = replace(plain, constraints=(Constraint(name="cost", bound=9.0),))
    assert taught(plain, points).climb(dear) is None
    assert taught(strict, points).climb(dear) == Task(points[20], 1.0)
