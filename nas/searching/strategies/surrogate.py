"""Surrogate-assisted search: a Gaussian process per objective, expected hypervolume improvement, an inner evolution."""

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from nas.pareto import Points, least, ranks, spread
from nas.searching.acquisition import REACH, Beliefs, Volume, by_improvement, reached
from nas.searching.posterior import Models, Pool, Posterior
from nas.searching.problem import Problem
from nas.searching.strategies.contract import Seen, Strategy, Told

FEWEST = 8
"""Results before the first model."""
SMALL, GLANCES = 30_000, 2_000_000
"""Spaces up to this size are judged whole, as far as this many comparisons of points go; in larger ones we evolve."""
CANDIDATES, SAMPLE, GLIMPSE = 512, 64, 256
"""Candidates that are looked at closely, those that show how uncertain predictions are, and points of open volume."""
PARENTS, CENTRES, CHILDREN, GENERATIONS = 48, 4, 128, 6
OPTIMISM, EVEN = 0.5, 0.5
RATES = (0.03, 0.08, 0.2)

Chosen = tuple[Sequence[Any], Beliefs, Points]
"""Candidates, what is believed of them, and points of the volume that they may add."""


class Proposer(Strategy):
    """Each round refits the models and lines candidates up by what each adds to the front and those before it."""

    name: ClassVar[str] = "surrogate"
    growth: ClassVar[float] = 0.05

    def __init__(
        self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 4, start: Sequence[Any] = ()
    ) -> None:
        super().__init__(problem, seed=seed, first=first, batch=batch, start=start)
        self._models = Models(problem)

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """The candidates that widen the front most."""
        seen = self.seen(told)
        if len(seen.told) < FEWEST:
            return
        able = {point.digest for point in seen.points}
        failed = [result.point for result in told if result.point.digest not in able]
        posterior = self._models.fitted(seen, failed)
        old = {result.point.digest for result in told}
        choose = self._evolved if self.problem.space.size > SMALL else self._glanced
        candidates, beliefs, points = choose(seen, posterior, old, rng)
        yield from (candidates[i] for i in self._order(beliefs, points, posterior))

    def _order(self, beliefs: Beliefs, points: Points, posterior: Posterior) -> Iterator[int]:
        """Candidates by what they add, and behind them by how good they may be."""
        taken = set()
        for i in by_improvement(beliefs, points, posterior(self.waiting) if self.waiting else None):
            taken.add(i)
            yield i
        hopeful = np.lexsort((ranks(beliefs.hoped(REACH), least(beliefs.mean)), beliefs.chance < EVEN))
        yield from (int(i) for i in hopeful if i not in taken)

    @cached_property
    def _all(self) -> Pool:
        return self._models.pool(self.problem.keep(list(self.problem.space.every())))

    def _glanced(self, seen: Seen, posterior: Posterior, old: set[str], rng: random.Random) -> Chosen:
        """Of the whole space the points that would widen the front if each were as much better as is usual."""
        index = [i for i, point in enumerate(self._all.points) if point.digest not in old]
        if not index:
            return [], posterior([]), seen.costs[:0]
        most = GLANCES // max(1, len(seen.told))
        pool = self._all.rows(index if len(index) <= most else sorted(rng.sample(index, most)))
        usual = np.median(
            posterior.of(pool.rows(rng.sample(range(len(pool.points)), min(SAMPLE, len(pool.points))))).width, axis=0
        )
        means = posterior.means(pool)
        points = _volume(seen, posterior).open_points(means - REACH * usual, _numbers(rng))
        luck = _numbers(rng).exponential(1.0, (len(means), 1))
        gain = reached(means - luck * usual, points[:GLIMPSE])
        best = pool.rows(np.argsort(-gain, kind="stable")[:CANDIDATES].tolist())
        return best.points, posterior.of(best), points

    def _evolved(self, seen: Seen, posterior: Posterior, old: set[str], rng: random.Random) -> Chosen:
        """Points that an evolution on optimistic predictions comes to."""
        best = np.argsort(seen.ranks, kind="stable")[:PARENTS]
        parents, costs = [seen.points[i] for i in best], posterior.warp(seen.costs[best])
        found: dict[str, Any] = {}
        beliefs: list[Beliefs] = []
        for generation in range(GENERATIONS):
            young = self._brood(parents, rng) if generation else self._around(parents, rng)
            brood = {point.digest: point for point in young}
            new = {key: point for key, point in brood.items() if key not in found and key not in old}
            if kept := self.problem.keep(list(new.values())):
                found.update((point.digest, point) for point in kept)
                beliefs.append(posterior(kept))
                parents, costs = _survivors([*parents, *kept], np.vstack([costs, beliefs[-1].hoped(OPTIMISM)]))
        together = Beliefs.joined(beliefs) if beliefs else posterior([])
        return (
            list(found.values()),
            together,
            _volume(seen, posterior).open_points(together.hoped(REACH), _numbers(rng)),
        )

    def _around(self, parents: Sequence[Any], rng: random.Random) -> Iterator[Any]:
        """One changed gene away from some of the parents: what chance alone would often miss at the end."""
        for parent in rng.sample(parents, min(CENTRES, len(parents))):
            yield from itertools.islice(self.problem.space.neighbours(parent, rng), CHILDREN // CENTRES)

    def _brood(self, parents: Sequence[Any], rng: random.Random) -> Iterator[Any]:
        space = self.problem.space
        for _ in range(CHILDREN):
            child = rng.choice(parents)
            if rng.random() < 0.5:
                child = space.crossover(child, rng.choice(parents), rng)
            yield space.mutate(child, rng, rng.choice(RATES))


def _volume(seen: Seen, posterior: Posterior) -> Volume:
    able = seen.violations == 0
    return Volume.of(seen.costs[able] if able.any() else seen.costs, seen.region, posterior.warp)


def _numbers(rng: random.Random) -> np.random.Generator:
    return np.random.default_rng(rng.randrange(2**32))


def _survivors(points: list[Any], costs: Points) -> tuple[list[Any], Points]:
    order = ranks(costs, least(costs))
    chosen: list[int] = []
    for rank in range(int(order.max()) + 1):
        layer = np.flatnonzero(order == rank)
        chosen += layer[spread(costs[layer], PARENTS - len(chosen), least(costs))].tolist()
        if len(chosen) >= PARENTS:
            break
    return [points[i] for i in chosen], costs[chosen]
