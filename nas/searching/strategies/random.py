"""Random search, half of it spread over the cost: the baseline that every other strategy has to beat."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from nas.searching.design import strata
from nas.searching.strategies.contract import Strategy, Told

CHUNK, OVERSAMPLE = 16, 4


class Proposer(Strategy):
    """Points uniform over knobs, in turn with points spread evenly over the logarithm of a known cost."""

    name: ClassVar[str] = "random"

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """Draws; what was told does not matter."""
        uniform = self.problem.draws(rng)
        while True:
            spread = strata(self.problem, CHUNK, itertools.islice(uniform, OVERSAMPLE * CHUNK))
            rng.shuffle(spread)
            for point in spread:
                yield point
                yield next(uniform)
