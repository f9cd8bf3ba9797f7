"""Surrogate-assisted search: models predict what costs an evaluation, costs that are known are used as they are."""

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from nas.arch import Arch
from nas.pareto import Points, least, ranks, spread
from nas.searching.batch import by_gain
from nas.searching.model import Ensemble, Features
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Strategy, Told
from nas.space import crossover, mutate

FEWEST = 8
"""Results before the first model."""
PARENTS, CHILDREN, GENERATIONS = 32, 64, 8
OPTIMISM = 0.5
"""Standard deviations by which a prediction is bettered, so that uncertain archs get their chance."""


class Proposer(Strategy):
    """Each round refits the models, evolves archs on known costs and optimistic predictions, and spreads a batch."""

    name: ClassVar[str] = "surrogate"

    def __init__(self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 16) -> None:
        super().__init__(problem, seed=seed, first=first, batch=batch)
        self._features = Features(problem)

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Arch]:
        """The candidates that widen the front most."""
        complete = self.complete(told)
        if len(complete) < FEWEST:
            return
        known = self.problem.points([result.values for result in complete])
        guess = self._fit(complete, rng)
        candidates, points = self._evolve(complete, known, guess, rng)
        if candidates:
            yield from (candidates[chosen] for chosen in by_gain(points, known))

    def _fit(self, complete: Sequence[Told], rng: random.Random) -> "_Guess":
        features = self._features([result.arch for result in complete])
        models = {}
        for objective in self.problem.objectives:
            if objective.name not in self.problem.known:
                targets = np.array([result.values[objective.name] for result in complete])
                models[objective.name] = Ensemble(features, targets, rng.randrange(2**32))
        return _Guess(self.problem, self._features, models)

    def _evolve(
        self, complete: Sequence[Told], known: Points, guess: "_Guess", rng: random.Random
    ) -> tuple[list[Arch], Points]:
        old = {result.arch.digest for result in complete}
        parents, points = _survivors([result.arch for result in complete], known)
        found: dict[str, Arch] = {}
        values: list[Points] = []
        for _ in range(GENERATIONS):
            brood = {arch.digest: arch for arch in self._brood(parents, rng)}
            new = self.problem.keep([arch for key, arch in brood.items() if key not in found and key not in old])
            if not new:
                continue
            found.update((arch.digest, arch) for arch in new)
            values.append(guess(new))
            parents, points = _survivors([*parents, *new], np.vstack([points, values[-1]]))
        return list(found.values()), np.vstack(values) if values else known[:0]

    def _brood(self, parents: Sequence[Arch], rng: random.Random) -> Iterator[Arch]:
        for _ in range(CHILDREN):
            child = rng.choice(parents)
            if rng.random() < 0.5:
                child = crossover(self.problem.space, child, rng.choice(parents), rng)
            rate = rng.choice((0.03, 0.08, 0.2))
            yield mutate(self.problem.space, child, rng, rate=rate)


class _Guess:
    """Objectives of unseen archs, less-is-better: exact where known, optimistic where predicted."""

    def __init__(self, problem: Problem, features: Features, models: dict[str, Ensemble]) -> None:
        self._problem, self._features, self._models = problem, features, models

    def __call__(self, archs: Sequence[Arch]) -> Points:
        rows = [dict(values) for values in self._problem.cheap(archs)]
        for objective in self._problem.objectives:
            if objective.name in self._models:
                mean, width = self._models[objective.name].predict(self._features(archs))
                sign = 1.0 if objective.direction == "minimise" else -1.0
                for row, value in zip(rows, mean - sign * OPTIMISM * width, strict=True):
                    row[objective.name] = float(value)
        return self._problem.points(rows)


def _survivors(archs: list[Arch], points: Points) -> tuple[list[Arch], Points]:
    order = ranks(points, least(points))
    chosen: list[int] = []
    for rank in range(int(order.max()) + 1):
        layer = np.flatnonzero(order == rank)
        chosen += layer[spread(points[layer], PARENTS - len(chosen), least(points))].tolist()
        if len(chosen) >= PARENTS:
            break
    return [archs[i] for i in chosen], points[chosen]
