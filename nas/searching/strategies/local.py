"""Local search from the front: "Pareto Local Search Algorithms for Anytime Bi-objective Optimization" (2012).

On one objective it is the hill climbing of "Exploring the Loss Landscape in Neural Architecture Search" (2021).
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.searching.strategies.contract import Seen, Strategy, Told


class Proposer(Strategy):
    """Neighbours of the best ranks, those first of which the fewest neighbours are known.

    Differs from the papers in that a neighbourhood is not finished before the next one begins, because a point that
    has just joined the front promises more than the rest of an old one's neighbours. Behind the front come the next
    ranks, in turn with draws, which are the restarts.
    """

    name: ClassVar[str] = "local"

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """One neighbour of each member of the front in turn, until all are known; then of the others."""
        seen = self.seen(told)
        known = {result.point for result in told}
        order = self._order(seen, rng)
        front = [i for i in order if seen.ranks[i] == 0]
        yield from self._around([seen.points[i] for i in front], known, rng)
        draws = self.problem.draws(rng)
        for i in order[len(front) :]:
            for point in self._around([seen.points[i]], known, rng):
                yield point
                yield next(draws)

    def _around(self, centres: Sequence[Any], known: set[Any], rng: random.Random) -> Iterator[Any]:
        walks = [self.problem.space.neighbours(centre, rng) for centre in centres]
        while walks:
            for walk in list(walks):
                if (point := self._step(walk, known)) is None:
                    walks.remove(walk)
                else:
                    yield point

    def _step(self, walk: Iterator[Any], known: set[Any]) -> Any:
        return next((point for point in walk if point not in known and self.problem.excess(point) == 0), None)

    def _order(self, seen: Seen, rng: random.Random) -> list[int]:
        explored = _explored(self.problem.space.columns(seen.points), seen.ranks == 0)
        chance = [rng.random() for _ in seen.told]
        return sorted(range(len(seen.told)), key=lambda i: (int(seen.ranks[i]), int(explored[i]), chance[i]))


def _explored(columns: NDArray[np.int16], wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """`[N]`: how many others differ from a row in one gene; only where it is wanted."""
    found = np.zeros(len(columns), dtype=np.intp)
    for i in np.flatnonzero(wanted):
        found[i] = ((columns != columns[i]).sum(axis=1) == 1).sum()
    return found
