"""Random search, half of it spread over the cost: the baseline that every other strategy has to beat."""

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

from nas.arch import Arch
from nas.searching.strategies.contract import Strategy, Told, strata_cost
from nas.space import stratified

CHUNK = 16


class Proposer(Strategy):
    """Archs uniform over knobs, in turn with archs spread evenly over the logarithm of the cost."""

    name: ClassVar[str] = "random"

    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Arch]:
        """Draws; what was told does not matter."""
        uniform = self.problem.draws(rng)
        while True:
            spread = stratified(
                self.problem.space, CHUNK, lambda arch: strata_cost(self.problem, arch), rng, oversample=4
            )
            rng.shuffle(spread)
            for arch in self.problem.keep(spread):
                yield arch
                yield next(uniform)
            yield next(uniform)
