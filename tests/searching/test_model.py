"""The surrogate's parts against finite differences, closed forms and what they were fitted to."""

import random
from typing import Any

import numpy as np
import pytest

from nas.pareto import hypervolume, least
from nas.searching import model
from nas.searching.acquisition import Beliefs, Volume, by_improvement, reached
from nas.searching.features import Encoded, Features
from nas.searching.objectives import Constraint, Objective
from nas.searching.posterior import Models
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Seen, Told
from nas.space import as_space

SPACE = as_space({**{f"op_{i}": ["a", "b", "c"] for i in range(4)}, "width": [8, 16, 32, 64], "depth": [1, 2, 3]})
OBJECTIVES = (Objective("quality", "maximise"), Objective("ms"))


def values(point: Any) -> dict[str, float]:
    worth = sum((i + 1) * (point[f"op_{i}"] == "a") for i in range(4)) + point["width"] ** 0.5 * point["depth"]
    return {"quality": worth, "ms": point["width"] ** 1.5 * point["depth"] * (2.0 if point["op_0"] == "b" else 1.0)}


def drawn(count: int, seed: int = 0) -> list[Any]:
    rng = random.Random(seed)
    return list(dict.fromkeys(SPACE.sample(rng) for _ in range(count)))


def seen(problem: Problem, points: list[Any]) -> Seen:
    return Seen(problem, [Told(point, values(point)) for point in points])


@pytest.fixture
def problem() -> Problem:
    return Problem(SPACE, OBJECTIVES)


@pytest.fixture
def encoded(problem: Problem) -> Encoded:
    return Features(problem)(drawn(40))


def test_the_gradient_is_that_of_the_likelihood(encoded: Encoded) -> None:
    rng = np.random.default_rng(0)
    targets, shares = rng.standard_normal(len(encoded)), rng.uniform(0.2, 1.0, len(encoded))
    flat = model.Weights.guess(encoded).flat() + 0.3 * rng.standard_normal(len(model.Weights.guess(encoded).flat()))
    weights = model.Weights.guess(encoded).like(flat)
    _, gradient = model._negative_log_likelihood(weights, encoded, targets, shares)
    for i in range(len(flat)):
        step = np.zeros(len(flat))
        step[i] = 1e-5
        up, down = (
            model._negative_log_likelihood(weights.like(flat + s * step), encoded, targets, shares)[0] for s in (1, -1)
        )
        assert gradient[i] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-5)


def test_the_posterior_goes_through_what_it_was_told_and_widens_away_from_it(problem: Problem) -> None:
    points = drawn(60)
    posterior = Models(problem).fitted(seen(problem, points[:40]))
    told, new = posterior(points[:40]), posterior(points[40:])
    wanted = posterior.warp(problem.points([values(point) for point in points]))
    assert np.abs(told.mean - wanted[:40]).max(axis=0) == pytest.approx(0, abs=0.1)
    assert (new.width.mean(axis=0) > told.width.mean(axis=0)).all()
    correlation = [np.corrcoef(new.mean[:, d], wanted[40:, d])[0, 1] for d in range(2)]
    assert min(correlation) > 0.9


def test_values_that_span_orders_of_magnitude_are_modelled_as_logarithms(problem: Problem) -> None:
    posterior = Models(problem).fitted(seen(problem, drawn(60)))
    costs = np.array([[-3.0, 100.0]])
    assert posterior.warp(costs)[0, 1] == pytest.approx(np.log(100.0))


def test_what_is_told_decides_whatever_was_asked_before(problem: Problem) -> None:
    points = drawn(60)
    grown = Models(problem)
    for count in (10, 25, 50):
        grown.fitted(seen(problem, points[:count]))
    one, other = grown.fitted(seen(problem, points)), Models(problem).fitted(seen(problem, points))
    assert np.array_equal(one(points).mean, other(points).mean)


def test_low_fidelity_counts_for_less(problem: Problem) -> None:
    point, others = drawn(1)[0], drawn(30, seed=1)
    off = {**values(point), "quality": values(point)["quality"] + 5}
    rows = [Told(other, values(other)) for other in others]
    means = []
    for fidelity in (1.0, 0.01):
        posterior = Models(problem).fitted(Seen(problem, [*rows, Told(point, off, fidelity)]))
        means.append(posterior([point]).mean[0, 0])
    assert means[0] < means[1]


def test_the_chance_of_a_constraint(problem: Problem) -> None:
    points = drawn(60)
    bound = float(np.median([values(point)["quality"] for point in points]))
    limited = Problem(SPACE, OBJECTIVES, (Constraint(name="quality", bound=bound, direction="maximise"),))
    chance = Models(limited).fitted(seen(limited, points))(points).chance
    is_able = np.array([values(point)["quality"] >= bound for point in points])
    assert chance[is_able].mean() > 0.9 and chance[~is_able].mean() < 0.1


def known(points: Any) -> Beliefs:
    rows = np.array(points, dtype=float)
    return Beliefs(rows, np.zeros_like(rows), np.ones(len(rows)))


def test_improvement_of_known_candidates_is_that_of_the_hypervolume() -> None:
    rng = np.random.default_rng(0)
    front, candidates = rng.random((6, 3)) + 0.2, rng.random((12, 3))
    volume = Volume.of(
        np.vstack([front, [[0, 0, 1.3]], [[1.3, 1.3, 0]]]), np.array([[-np.inf] * 3, [np.inf] * 3]), lambda x: x
    )
    box = volume.box[1]

    def gain(row: Any) -> float:
        return hypervolume(np.vstack([volume.front, row]), box, least(front)) - hypervolume(
            volume.front, box, least(front)
        )

    first = next(by_improvement(known(candidates), volume.open_points(candidates, rng)))
    gains = [gain(row) for row in candidates]
    assert gains[first] >= 0.9 * max(gains)


def test_the_second_of_a_batch_does_not_repeat_the_first() -> None:
    rng = np.random.default_rng(0)
    volume = Volume.of(
        np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[-np.inf] * 2, [np.inf] * 2]), lambda x: x
    )
    candidates = known([[0.2, 0.5], [0.21, 0.5], [0.6, 0.15]])
    points = volume.open_points(candidates.mean, rng)
    assert list(by_improvement(candidates, points))[:2] == [0, 2]
    assert next(by_improvement(candidates, points, known([[0.2, 0.5]]))) == 2


def test_a_region_bounds_what_counts() -> None:
    rng = np.random.default_rng(0)
    region = np.array([[-np.inf, -np.inf], [np.inf, 0.3]])
    volume = Volume.of(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), region, lambda x: x)
    candidates = np.array([[0.1, 0.5], [0.7, 0.2]])
    assert reached(candidates, volume.open_points(candidates, rng)).tolist()[0] == 0
