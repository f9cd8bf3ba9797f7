"""Ageing evolution ("Regularized Evolution for Image Classifier Architecture Search", 2019) on several objectives."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from nas.pareto import Points, unit
from nas.searching.strategies.contract import Seen, Strategy, Told

POPULATION, TOURNAMENT = 100, 0.25
"""Points that are young enough to have children, and the share of them that meet in a tournament."""
CROSSED = 0.5
"""Share of children that have two parents before they are mutated."""
MISSES = 512
"""Children in a row outside the limits after which the stream is left to chance."""


class Proposer(Strategy):
    """The population is what was told last: who is old leaves, however good, and must be found again.

    Differs from the paper in that a tournament is won by the best rank and among equals by the loneliest point
    instead of the highest accuracy, that half of the children have two parents, and that no point is evaluated twice.
    """

    name: ClassVar[str] = "evolution"

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """Children of the winners of tournaments."""
        population = Seen(self.problem, self.seen(told).told[-POPULATION:])
        if not population.told:
            return
        gaps = _gaps(population.costs)
        missed = 0
        while missed < MISSES:
            child = self._child(population, gaps, rng)
            able = child is not None and self.problem.excess(child) == 0
            missed = 0 if able else missed + 1
            if able:
                yield child

    def _child(self, population: Seen, gaps: Points, rng: random.Random) -> Any:
        parent = self._winner(population, gaps, rng)
        if rng.random() < CROSSED:
            parent = self.problem.space.crossover(parent, self._winner(population, gaps, rng), rng)
        return next(itertools.chain(self.problem.space.neighbours(parent, rng), [None]))

    def _winner(self, population: Seen, gaps: Points, rng: random.Random) -> Any:
        count = len(population.told)
        entrants = rng.sample(range(count), max(1, round(TOURNAMENT * count)))
        return population.points[min(entrants, key=lambda i: (int(population.ranks[i]), -gaps[i]))]


def _gaps(costs: Points) -> Points:
    """`[N]`: distance of each point to the closest other, objectives scaled to 0..1."""
    scaled = unit(costs)
    apart = np.linalg.norm(scaled[:, None] - scaled, axis=2)
    np.fill_diagonal(apart, np.inf)
    gaps: Points = apart.min(axis=1)
    return gaps
