"""A search problem: where to look, for what, within which limits, and what is known about an arch beforehand."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.arch import Arch
from nas.errors import ConfigError, InfeasibleError
from nas.pareto import Direction, Points, as_costs, front, least
from nas.searching.objectives import Constraint, Objective, Values
from nas.space import SearchSpace, crossover, mutate, sample

Cheap = Callable[[Sequence[Arch]], list[Values]]
POOL, ELITE, BROOD, DESCENTS = 256, 8, 16, 20
DRAWS, SCARCE = 32, 8


def nothing(archs: Sequence[Arch]) -> list[Values]:
    """No values: for problems in which nothing is known before evaluation."""
    return [{} for _ in archs]


@dataclass(frozen=True)
class Problem:
    """Space, objectives, constraints, and the values that cost nothing to know."""

    space: SearchSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    cheap: Cheap = nothing

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Direction of each objective."""
        return tuple(objective.direction for objective in self.objectives)

    @cached_property
    def known(self) -> frozenset[str]:
        """Names of the values that `cheap` gives."""
        return frozenset(self.cheap([self.space.smallest()])[0])

    @cached_property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints that can be checked before an evaluation."""
        return tuple(c for c in self.constraints if c.name in self.known)

    def excess(self, arch: Arch) -> float:
        """Summed violation of the limits; 0 for an arch within all of them."""
        values = self.cheap([arch])[0] if self.limits else {}
        return sum(limit.violation(values) for limit in self.limits)

    def points(self, values: Sequence[Values]) -> Points:
        """Objectives `[N, D]` with less-is-better everywhere."""
        rows = [[row[objective.name] for objective in self.objectives] for row in values]
        return as_costs(rows, self.directions)

    def feasible(self, values: Values) -> bool:
        """Whether the values meet every constraint."""
        return all(c.violation(values) == 0 for c in self.constraints)

    def front(self, values: Sequence[Values]) -> list[int]:
        """Indices of the feasible, non-dominated values."""
        able = [i for i, row in enumerate(values) if self.feasible(row)]
        points = self.points([values[i] for i in able])
        return [able[int(i)] for i in front(points, least(points))]

    def check(self) -> None:
        """`ConfigError` for a constraint on a value that nobody computes; `InfeasibleError` if none can be met."""
        values = self.known | {objective.name for objective in self.objectives}
        for constraint in self.constraints:
            if constraint.name not in values:
                raise ConfigError(
                    f"constraint {constraint} needs a value that this search does not compute: constrain one of "
                    f"{', '.join(sorted(values))}, or add {constraint.name!r} to search.objectives"
                )
        _ = self.founders

    @cached_property
    def founders(self) -> tuple[Arch, ...]:
        """Some archs within the limits, corners first; `InfeasibleError` gives the cheapest arch's cost if none is."""
        rng = random.Random(f"founders/{self.space.digest}")
        corners = [self.space.smallest(), self.space.largest(), *self.space.anchors().values()]
        pool = [*corners, *(sample(self.space, rng) for _ in range(POOL if self.limits else 0))]
        for _ in range(DESCENTS):
            self.cheap(pool)
            pool = sorted(pool, key=self.excess)
            if found := [arch for arch in pool if self.excess(arch) == 0]:
                return tuple(dict.fromkeys(found))
            elite = pool[:ELITE]
            pool = [*elite, *(mutate(self.space, arch, rng) for arch in elite for _ in range(BROOD))]
        raise InfeasibleError(self._infeasible(pool))

    def _infeasible(self, pool: Sequence[Arch]) -> str:
        values = self.cheap([self.space.smallest(), *pool])
        closest = values[1]
        rules = ", ".join(str(limit) for limit in self.limits)
        best = [
            f"{c.name} {(min if c.direction == 'minimise' else max)(v[c.name] for v in values):.4g}"
            for c in self.limits
        ]
        near = ", ".join(f"{c.name} {closest[c.name]:.4g}" for c in self.limits)
        return (
            f"no architecture of space {self.space.frame.name!r} meets {rules}: the cheapest has {', '.join(best)}, "
            f"and the closest to all limits has {near} (arch {pool[0].digest}); loosen the constraint to that, or add "
            "smaller choices to the space"
        )

    def draws(self, rng: random.Random) -> Iterator[Arch]:
        """Endless archs within the limits: uniform over knobs, and variations of known ones where those are scarce."""
        known = list(self.founders)
        while True:
            drawn = [sample(self.space, rng) for _ in range(DRAWS)]
            able = self.keep(drawn)
            if len(able) * SCARCE < DRAWS:
                varied = (mutate(self.space, rng.choice(known), rng) for _ in range(DRAWS))
                crossed = (crossover(self.space, rng.choice(known), rng.choice(known), rng) for _ in range(DRAWS))
                able += self.keep([*varied, *crossed]) or known[:1]
                known = list(dict.fromkeys([*known, *able]))
            yield from able

    def keep(self, archs: Sequence[Arch]) -> list[Arch]:
        """Those of the archs that are within the limits."""
        self.cheap(archs)
        return [arch for arch in archs if self.excess(arch) == 0]


def finite(values: Values, names: Sequence[str]) -> bool:
    """Whether all the named values are there and finite."""
    return all(name in values and np.isfinite(values[name]) for name in names)
