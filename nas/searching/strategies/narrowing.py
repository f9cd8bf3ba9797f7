"""Narrowing the space by stages, as in "Angle-based Search Space Shrinking for Neural Architecture Search" (2020)."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from nas.arch import Knob
from nas.searching.strategies.contract import Seen, Strategy, Told

STAGE = 32
"""Results between two cuts."""
FEW = 3
"""Points that a value must have been tried in before it is judged."""
MISSES = 512
"""Narrowed draws in a row outside the limits after which the stream is left to chance."""
Kept = dict[str, tuple[Knob, ...]]


class Proposer(Strategy):
    """After each stage every gene loses the value whose points rank worst on average; draws are from what is left.

    The paper judges operators by how far a supernet's weights have turned; here it is the mean rank of results. One
    value per gene is always left, and those that points of the front hold; a value that was cut comes back with the
    draws from the whole space that every strategy makes.
    """

    name: ClassVar[str] = "narrowing"

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """Draws from what is left, every other one crossed with a point of the front."""
        seen, space = self.seen(told), self.problem.space
        front = [point for point, rank in zip(seen.points, seen.ranks, strict=True) if rank == 0]
        for turn, point in enumerate(self._draws(self.narrowed(seen), rng)):
            child = space.crossover(point, rng.choice(front), rng) if front and turn % 2 else point
            yield child if self.problem.excess(child) == 0 else point

    def _draws(self, kept: Kept, rng: random.Random) -> Iterator[Any]:
        """Draws within the limits, each with the values that were cut replaced, if that is within them too."""
        space, missed = self.problem.space, 0
        for draw in self.problem.draws(rng):
            genes = space.genes(draw)
            point = space.point({g: v if v in kept[g] else rng.choice(kept[g]) for g, v in genes.items()})
            able = self.problem.excess(point) == 0
            missed = 0 if able else missed + 1
            if able:
                yield point
            elif missed > MISSES:
                return

    def narrowed(self, seen: Seen) -> Kept:
        """The values left after all stages that the results make up."""
        kept: Kept = dict(self.problem.space.choices)
        for stage in range(1, len(seen.told) // STAGE + 1):
            kept = self._cut(kept, Seen(self.problem, seen.told[: stage * STAGE]))
        return kept

    def _cut(self, kept: Kept, seen: Seen) -> Kept:
        genes = [self.problem.space.genes(point) for point in seen.points]
        return {gene: _better(gene, values, genes, seen) for gene, values in kept.items()}


def _better(gene: str, values: tuple[Knob, ...], genes: Sequence[dict[str, Knob]], seen: Seen) -> tuple[Knob, ...]:
    held: dict[Knob, list[int]] = {value: [] for value in values}
    for row, rank in zip(genes, seen.ranks, strict=True):
        if row.get(gene) in held:
            held[row[gene]].append(int(rank))
    able = [value for value, ranks in held.items() if len(ranks) >= FEW and min(ranks) > 0]
    if len(values) == 1 or not able:
        return values
    worst = max(able, key=lambda value: float(np.mean(held[value])))
    return tuple(value for value in values if value is not worst)
