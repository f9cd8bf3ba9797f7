"""What a search believes of points that it has not seen: known values as they are, others from a model each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from nas.pareto import Points
from nas.searching import model
from nas.searching.acquisition import Beliefs
from nas.searching.features import Array, Encoded, Features
from nas.searching.model import Process, Weights
from nas.searching.objectives import Constraint, Objective
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Seen

LEARN, GROWTH = 8, 1.2
"""Weights are learned from so many results at first, and anew when there are so many times more."""
MOST_LEARN, MOST = 200, 1000
"""Results that weights are learned from, and results that a prediction rests on."""
MOST_FAILED, LEAST_CHANCE = 200, 1e-3
"""Failures that are remembered, and the chance that a point beside them still gets."""
RATIO = 3.0
"""Positive values that span more than this are modelled as logarithms if that makes them likelier."""


@dataclass(frozen=True, slots=True)
class Target:
    """A value to model: its name, which way is better, and whether its logarithm is modelled."""

    name: str
    sign: float
    is_log: bool = False

    def warp(self, costs: Array) -> Array:
        """Values with less-is-better in the units of the model, in the same order."""
        if not self.is_log:
            return costs
        return self.sign * np.log(np.maximum(self.sign * costs, 1e-12))


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights of one target, learned at one moment."""

    target: Target
    weights: Weights


@dataclass(frozen=True, slots=True)
class Pool:
    """Points and their encoding."""

    points: Sequence[Any]
    encoded: Encoded

    def rows(self, index: Sequence[int]) -> "Pool":
        """Some of the points."""
        return Pool([self.points[i] for i in index], self.encoded.rows(np.asarray(index, dtype=np.intp)))


class Posterior:
    """Beliefs about any points."""

    def __init__(
        self,
        problem: Problem,
        features: Features,
        models: dict[str, tuple[Target, Process]],
        success: Process | None = None,
    ) -> None:
        self._problem, self._features, self._models, self._success = problem, features, models, success

    def __call__(self, points: Sequence[Any]) -> Beliefs:
        """Beliefs about the points `[N]`."""
        return self.of(Pool(points, self._features(points)))

    def of(self, pool: "Pool") -> Beliefs:
        """Beliefs about points that are encoded already."""
        points, encoded, cheap = pool.points, pool.encoded, self._problem.cheap(pool.points)
        found = {name: process.predict(encoded) for name, (_, process) in self._models.items()}
        for name in self._problem.known:
            values = np.array([row[name] for row in cheap])
            found.setdefault(name, (values, np.zeros(len(points))))
        parts = [self._signed(objective, found) for objective in self._problem.objectives]
        chance = np.ones(len(points))
        for constraint in self._problem.constraints:
            chance *= self._within(constraint, found)
        if self._success is not None:
            chance *= np.clip(self._success.mean(encoded), LEAST_CHANCE, 1.0)
        return Beliefs(np.stack([m for m, _ in parts], axis=1), np.stack([w for _, w in parts], axis=1), chance)

    def means(self, pool: "Pool") -> Points:
        """Expected objectives `[N, D]` alone, which is faster."""
        encoded, cheap = pool.encoded, self._problem.cheap(pool.points)
        columns = []
        for objective in self._problem.objectives:
            if objective.name in self._models:
                columns.append(self._models[objective.name][1].mean(encoded))
            else:
                sign = _sign(objective.direction)
                columns.append(np.array([sign * row[objective.name] for row in cheap]))
        return np.stack(columns, axis=1)

    def warp(self, costs: Points) -> Points:
        """Objectives in the units of the beliefs."""
        columns = [
            self._models[o.name][0].warp(costs[:, d]) if o.name in self._models else costs[:, d]
            for d, o in enumerate(self._problem.objectives)
        ]
        return np.stack(columns, axis=1)

    def _signed(self, objective: Objective, found: dict[str, tuple[Array, Array]]) -> tuple[Array, Array]:
        mean, width = found[objective.name]
        # models are of costs already, known values are not
        return (mean if objective.name in self._models else _sign(objective.direction) * mean), width

    def _within(self, constraint: Constraint, found: dict[str, tuple[Array, Array]]) -> Array:
        mean, width = found[constraint.name]
        bound = np.array([_sign(constraint.direction) * constraint.bound])
        if constraint.name not in self._models:
            return (_sign(constraint.direction) * mean <= bound).astype(float)
        target = self._models[constraint.name][0]
        sign = target.sign * _sign(constraint.direction)
        limit = target.warp(np.array([target.sign * constraint.bound]))
        return np.asarray(ndtr(sign * (limit - mean) / np.maximum(width, 1e-12)))


class Models:
    """Fits; the same results give the same beliefs whatever was asked before."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._features = problem, Features(problem)
        self._directions = {c.name: c.direction for c in problem.constraints}
        self._directions |= {o.name: o.direction for o in problem.objectives}
        self._learned: tuple[int, dict[str, Learned]] = (0, {})

    def pool(self, points: Sequence[Any]) -> Pool:
        """The points encoded."""
        return Pool(points, self._features(points))

    def fitted(self, seen: Seen, failed: Sequence[Any] = ()) -> Posterior:
        """The posterior given these results, of which the first ones decide the weights, and points that failed."""
        count = _moment(len(seen.told))
        if self._learned[0] != count:
            self._learned = (count, self._learn(Seen(self._problem, seen.told[:count])))
        kept = _spread(len(seen.told), MOST, seen)
        encoded = self._features([seen.points[i] for i in kept])
        shares = np.array([seen.told[i].fidelity for i in kept])
        models = {}
        for name, learned in self._learned[1].items():
            values = learned.target.warp(self._costs(seen, name)[kept])
            models[name] = learned.target, Process(encoded, values, shares, learned.weights, model.standard(values))
        success = self._success([seen.points[i] for i in kept], failed[-MOST_FAILED:]) if failed else None
        return Posterior(self._problem, self._features, models, success)

    def _success(self, able: Sequence[Any], failed: Sequence[Any]) -> Process:
        """How likely an evaluation gives values: 1 far from all failures."""
        encoded = self._features([*able, *failed])
        values = np.repeat([1.0, 0.0], [len(able), len(failed)])
        return Process(encoded, values, np.ones(len(values)), Weights.guess(encoded), (1.0, 0.5))

    def _learn(self, seen: Seen) -> dict[str, Learned]:
        kept = _spread(len(seen.told), MOST_LEARN, seen)
        encoded = self._features([seen.points[i] for i in kept])
        shares = np.array([seen.told[i].fidelity for i in kept])
        names = [name for name in self._directions if name not in self._problem.known]
        return {name: self._likelier(name, encoded, self._costs(seen, name)[kept], shares) for name in names}

    def _likelier(self, name: str, encoded: Encoded, costs: Array, shares: Array) -> Learned:
        plain = Target(name, _sign(self._directions[name]))
        low, high = (plain.sign * costs).min(), (plain.sign * costs).max()
        options = [plain] + [Target(name, plain.sign, True)] * bool(low > 0 and high > RATIO * low)
        fits = []
        for target in options:
            values = target.warp(costs)
            mean, scale = model.standard(values)
            weights, loss = model.fit(encoded, (values - mean) / scale, shares)
            # the likelihood of the values themselves, so that units compare
            slope = np.log(np.abs(costs)).sum() if target.is_log else 0.0
            fits.append((loss + len(costs) * np.log(scale) + slope, Learned(target, weights)))
        return min(fits, key=lambda fit: fit[0])[1]

    def _costs(self, seen: Seen, name: str) -> Array:
        sign = _sign(self._directions[name])
        return sign * np.array([result.values[name] for result in seen.told], dtype=np.float64)


def _sign(direction: str) -> float:
    return 1.0 if direction == "minimise" else -1.0


def _moment(count: int) -> int:
    """The number of results, at most `count`, from which weights were last learned."""
    moment = LEARN
    while (later := max(moment + 4, int(moment * GROWTH))) <= count:
        moment = later
    return min(moment, count)


def _spread(count: int, most: int, seen: Seen) -> list[int]:
    """Indices of up to `most` results: half of them the best, the others evenly over time."""
    if count <= most:
        return list(range(count))
    best = np.argsort(seen.ranks, kind="stable")[: most // 2].tolist()
    rest = sorted(set(range(count)) - set(best))
    return sorted([*best, *(rest[int(i * len(rest) / (most - len(best)))] for i in range(most - len(best)))])
