"""A search problem: where to look, for what, within which limits, and what is known about a point beforehand."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from nas.errors import ConfigError, InfeasibleError
from nas.pareto import Direction, Points, as_costs, front, knee, least
from nas.searching.objectives import Constraint, Objective, Values
from nas.space import Space

Cheap = Callable[[Sequence[Any]], list[Values]]
Region = Mapping[str, tuple[float | None, float | None]]
Prefer = Literal["front", "knee"] | Region
POOL, ELITE, BROOD, DESCENTS = 256, 8, 16, 20
DRAWS, SCARCE = 32, 8
KNEE_SHARE = 0.2
"""Half width of the region around the knee, as a share of the front's extent."""


def nothing(points: Sequence[Any]) -> list[Values]:
    """No values: for problems in which nothing is known before evaluation."""
    return [{} for _ in points]


@dataclass(frozen=True)
class Problem:
    """Space, objectives, constraints, the values that cost nothing to know, and the part of the front that is wanted.

    `prefer` is the whole front, its knee, or lower and upper ends (or None) of some objectives: points outside are
    taken only where there is nothing inside.
    """

    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    cheap: Cheap = nothing
    prefer: Prefer = "front"
    scored: frozenset[str] = frozenset()
    """Names of values that an evaluation gives beside the objectives."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Direction of each objective."""
        return tuple(objective.direction for objective in self.objectives)

    @cached_property
    def corners(self) -> dict[str, Any]:
        """The space's corners."""
        return self.space.corners()

    @cached_property
    def known(self) -> frozenset[str]:
        """Names of the values that `cheap` gives."""
        return frozenset(self.cheap([self.space.sample(random.Random(0))])[0])

    @cached_property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints that can be checked before an evaluation."""
        return tuple(c for c in self.constraints if c.name in self.known)

    def excess(self, point: Any) -> float:
        """Summed violation of the limits; 0 for a point within all of them."""
        values = self.cheap([point])[0] if self.limits else {}
        return sum(limit.violation(values) for limit in self.limits)

    def points(self, values: Sequence[Values]) -> Points:
        """Objectives `[N, D]` with less-is-better everywhere."""
        rows = [[row[objective.name] for objective in self.objectives] for row in values]
        return as_costs(rows, self.directions)

    def feasible(self, values: Values) -> bool:
        """Whether the values meet every constraint."""
        return all(c.name in values and c.violation(values) == 0 for c in self.constraints)

    def violation(self, values: Values) -> float:
        """Summed violation of all constraints; 1 for each whose value is missing."""
        return sum(c.violation(values) if c.name in values else 1.0 for c in self.constraints)

    def front(self, values: Sequence[Values]) -> list[int]:
        """Indices of the feasible, non-dominated values."""
        able = [i for i, row in enumerate(values) if self.feasible(row)]
        points = self.points([values[i] for i in able])
        return [able[int(i)] for i in front(points, least(points))]

    def region(self, costs: Points) -> Points:
        """Ends `[2, D]` of the wanted part of objective space, less-is-better, given those of feasible points."""
        ends = np.array([[-np.inf], [np.inf]]).repeat(len(self.objectives), axis=1)
        if self.prefer == "knee" and len(costs):
            kept = costs[front(costs, least(costs))]
            reach = KNEE_SHARE * np.ptp(kept, axis=0)
            centred: Points = costs[knee(costs, least(costs))] + np.stack([-reach, reach])
            return centred
        for i, objective in enumerate(self.objectives):
            low, high = (
                self.prefer.get(objective.name, (None, None)) if isinstance(self.prefer, Mapping) else (None,) * 2
            )
            wanted = np.array([-np.inf if low is None else low, np.inf if high is None else high])
            ends[:, i] = wanted if objective.direction == "minimise" else -wanted[::-1]
        return ends

    def check(self) -> None:
        """`ConfigError` for a wish that nobody computes; `InfeasibleError` if no point meets the limits."""
        values = self.known | self.scored | {objective.name for objective in self.objectives}
        for constraint in self.constraints:
            if constraint.name not in values:
                raise ConfigError(
                    f"constraint {constraint} needs a value that this search does not compute: constrain one of "
                    f"{', '.join(sorted(values))}, or add {constraint.name!r} to search.objectives"
                )
        wished = self.prefer if isinstance(self.prefer, Mapping) else {}
        if unknown := sorted(set(wished) - {objective.name for objective in self.objectives}):
            raise ConfigError(
                f"a preferred region is one of objectives, and {', '.join(unknown)} is none: leave it out"
            )
        _ = self.founders

    @cached_property
    def founders(self) -> tuple[Any, ...]:
        """Some points within the limits, corners first; `InfeasibleError` gives the cheapest cost if there is none."""
        rng = random.Random(f"founders/{self.space.digest}")
        pool = [*self.corners.values(), *(self.space.sample(rng) for _ in range(POOL if self.limits else 1))]
        for _ in range(DESCENTS):
            self.cheap(pool)
            pool = sorted(pool, key=self.excess)
            if found := [point for point in pool if self.excess(point) == 0]:
                return tuple(dict.fromkeys(found))
            elite = pool[:ELITE]
            pool = [*elite, *(self.space.mutate(point, rng) for point in elite for _ in range(BROOD))]
        raise InfeasibleError(self._infeasible(pool))

    def _infeasible(self, pool: Sequence[Any]) -> str:
        values = self.cheap([*pool, *self.corners.values()])
        closest = values[0]
        rules = ", ".join(str(limit) for limit in self.limits)
        best = [
            f"{c.name} {(min if c.direction == 'minimise' else max)(v[c.name] for v in values):.4g}"
            for c in self.limits
        ]
        near = ", ".join(f"{c.name} {closest[c.name]:.4g}" for c in self.limits)
        return (
            f"no architecture of space {self.space.name!r} meets {rules}: the cheapest has {', '.join(best)}, "
            f"and the closest to all limits has {near} (arch {pool[0].digest}); loosen the constraint to that, or add "
            "smaller choices to the space"
        )

    def draws(self, rng: random.Random) -> Iterator[Any]:
        """Endless points within the limits: at random, and variations of known ones where those are scarce."""
        space, known = self.space, list(self.founders)
        while True:
            able = self.keep([space.sample(rng) for _ in range(DRAWS)])
            if len(able) * SCARCE < DRAWS:
                varied = (space.mutate(rng.choice(known), rng) for _ in range(DRAWS))
                crossed = (space.crossover(rng.choice(known), rng.choice(known), rng) for _ in range(DRAWS))
                able += self.keep([*varied, *crossed]) or known[:1]
                known = list(dict.fromkeys([*known, *able]))
            yield from able

    def keep(self, points: Sequence[Any]) -> list[Any]:
        """Those of the points that are within the limits."""
        self.cheap(points)
        return [point for point in points if self.excess(point) == 0]


def finite(values: Values, names: Sequence[str]) -> bool:
    """Whether all the named values are there and finite."""
    return all(math.isfinite(values.get(name, math.nan)) for name in names)
