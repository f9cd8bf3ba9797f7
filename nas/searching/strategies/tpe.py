"""Tree-structured Parzen estimators ("Algorithms for Hyper-Parameter Optimization", 2011) as Optuna implements them.

For several objectives: "Multiobjective Tree-structured Parzen Estimator" (2022). Genes are modelled jointly
(`multivariate`), because with independent ones Optuna is hardly better than chance on spaces of this kind.
"""

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nas.searching.optuna_rounds import OptunaStrategy, sampler_of
from nas.searching.strategies.contract import Seen

STARTUP = 10
CAP, ELITE = 128, 40
"""Results that a round's study is told of, because a suggestion's cost grows with them, and best ranks among them."""


class Proposer(OptunaStrategy):
    """Values that are frequent among the best ranks and rare among the others.

    Beyond `CAP` results a round sees only the `ELITE` best ranks and a random share of the rest, which keeps a
    suggestion's cost level and blurs the estimate of what is bad.
    """

    name: ClassVar[str] = "tpe"
    growth: ClassVar[float] = 1 / 32

    def make(self, seen: Seen, seed: int) -> Any:
        """The sampler, once there is something to estimate from."""
        return sampler_of("TPESampler", multivariate=True, seed=seed) if len(seen.told) >= STARTUP else None

    def chosen(self, seen: Seen) -> Sequence[int]:
        """All, or the best and some of the others."""
        if len(seen.told) <= CAP:
            return range(len(seen.told))
        order = np.argsort(seen.ranks, kind="stable").tolist()
        others = random.Random(f"{self.seed}/{len(order)}").sample(order[ELITE:], CAP - ELITE)
        return sorted([*order[:ELITE], *others])
