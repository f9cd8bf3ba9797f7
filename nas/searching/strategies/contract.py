"""What a strategy is: a stream of points as a pure function of the seed and of what it was told."""

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nas.pareto import Indices, Points, least, ranks
from nas.searching.design import first_design
from nas.searching.objectives import Values
from nas.searching.problem import Problem, finite

EXPLORE = 16
"""After so many proposals one is drawn at random, so that no value of a knob is out of reach."""


@dataclass(frozen=True, slots=True)
class Told:
    """One evaluated point; values are empty if the evaluation failed."""

    point: Any
    values: Values
    fidelity: float = 1.0


@dataclass(frozen=True)
class Seen:
    """Points that have every objective, each once with its values of the highest fidelity."""

    problem: Problem
    told: Sequence[Told]

    @cached_property
    def points(self) -> list[Any]:
        """The points."""
        return [result.point for result in self.told]

    @cached_property
    def costs(self) -> Points:
        """Objectives `[N, D]`, less-is-better."""
        return self.problem.points([result.values for result in self.told])

    @cached_property
    def violations(self) -> NDArray[np.float64]:
        """Summed violation of the constraints `[N]`."""
        return np.array([self.problem.violation(result.values) for result in self.told])

    @cached_property
    def region(self) -> Points:
        """Ends `[2, D]` of the wanted part of objective space."""
        return self.problem.region(self.costs[self.violations == 0])

    @cached_property
    def off(self) -> NDArray[np.float64]:
        """`[N]`: how far each point is from what is feasible and wanted, 0 for those that are both."""
        extent = np.ptp(self.costs, axis=0) if len(self.costs) else np.zeros(len(self.problem.objectives))
        low, high = self.region
        outside = np.maximum(0, low - self.costs) + np.maximum(0, self.costs - high)
        summed: NDArray[np.float64] = self.violations + (outside / np.where(extent > 0, extent, 1.0)).sum(axis=1)
        return summed

    @cached_property
    def ranks(self) -> Indices:
        """`[N]`, 0 is best: dominance among what is feasible and wanted, behind it the rest by how far it is off.

        Constrained domination as in "A Fast and Elitist Multiobjective Genetic Algorithm" (2002).
        """
        order = np.zeros(len(self.off), dtype=np.intp)
        able = self.off == 0
        order[able] = ranks(self.costs[able], least(self.costs))
        best = int(order.max(initial=-1)) + 1
        order[~able] = best + np.argsort(np.argsort(self.off[~able], kind="stable"), kind="stable")
        return order


class Strategy(ABC):
    """Ask and tell, without repeats.

    Proposals come in rounds of `batch` tells, or, if that is more, of the share `growth` of what is known or is asked
    and not known yet. Within a round
    they are one stream, made by `stream` from what was told before the round, minus what was asked or told already. So
    a search that was killed and is told its archive again goes on with the point that it would have proposed next.
    Nobody waits at a round's end: the stream has no end.
    """

    name: ClassVar[str]
    growth: ClassVar[float] = 0.0

    def __init__(
        self, problem: Problem, *, seed: int = 0, first: int = 24, batch: int = 4, start: Sequence[Any] = ()
    ) -> None:
        problem.check()
        self.problem, self.seed, self.batch = problem, seed, batch
        self._told: list[Told] = []
        self._origins: dict[str, str] = {}
        self._waiting: dict[str, Any] = {}
        self._design = first_design(problem, first, random.Random(f"{seed}/design"), start)
        self._drawn = 0
        self._round = -1
        self._stream: Iterator[Any] = iter(())

    @abstractmethod
    def stream(self, told: Sequence[Told], rng: random.Random) -> Iterator[Any]:
        """Points within the limits, best first, in an order that only `told` and `rng` decide; repeats are skipped."""

    def ask(self, count: int = 1) -> list[Any]:
        """Up to `count` points that were never asked or told; fewer only if the space has no more."""
        asked = []
        for origin, point in itertools.islice(self._fresh(), count):
            self._origins[point.digest] = origin
            self._waiting[point.digest] = point
            asked.append(point)
        return asked

    def tell(self, point: Any, values: Values, fidelity: float = 1.0) -> None:
        """Adds a result; empty values for an evaluation that failed."""
        self._origins.setdefault(point.digest, self.name)
        self._waiting.pop(point.digest, None)
        self._told.append(Told(point, values, fidelity))

    def origin(self, point: Any) -> str:
        """Where an asked point came from: `smallest`, `anchor/<family>`, `stratified`, or the strategy's name."""
        return self._origins[point.digest]

    def rng(self, purpose: str) -> random.Random:
        """A generator of this name, the same in every process."""
        return random.Random(f"{self.seed}/{self.name}/{purpose}")

    def seen(self, told: Sequence[Told]) -> Seen:
        """The results that have every objective, in the order in which their points were first told."""
        names = [objective.name for objective in self.problem.objectives]
        best: dict[str, Told] = {}
        for result in told:
            before = best.get(result.point.digest)
            if finite(result.values, names) and (before is None or before.fidelity < result.fidelity):
                best[result.point.digest] = result
        return Seen(self.problem, list(best.values()))

    @property
    def waiting(self) -> list[Any]:
        """Points that were asked and not told yet."""
        return list(self._waiting.values())

    def _fresh(self) -> Iterator[tuple[str, Any]]:
        while self._drawn < len(self._design):
            origin, point = self._design[self._drawn]
            self._drawn += 1
            if point.digest not in self._origins:
                yield origin, point
        repeats, patience = 0, self._patience()
        while repeats < patience:
            point = self._next()
            if point.digest in self._origins:
                repeats += 1
            else:
                repeats = 0
                yield self.name, point
        yield from self._leftover()

    def _next(self) -> Any:
        current = self._start(len(self._told))
        if current != self._round:
            own = self.stream(self._told[:current], self.rng(f"round/{current}"))
            self._stream = _explored(own, self.problem.draws(self.rng(f"draws/{current}")))
            self._round = current
        return next(self._stream)

    def _start(self, told: int) -> int:
        """How many tells the current round was made from."""
        start, waiting = max(self._round, 0), len(self._waiting)
        while (after := start + max(self.batch, int(self.growth * max(start, waiting)))) <= told:
            start = after
        return start

    def _patience(self) -> int:
        # a space smaller than this is drawn out with near certainty before the search calls it exhausted
        return max(1024, min(16384, 4 * self.problem.space.size))

    def _leftover(self) -> Iterator[tuple[str, Any]]:
        """What chance has missed of a small space."""
        if self.problem.space.size <= self._patience():
            for point in self.problem.keep(list(self.problem.space.every())):
                if point.digest not in self._origins:
                    yield self.name, point


def _explored(own: Iterator[Any], draws: Iterator[Any]) -> Iterator[Any]:
    for turn, point in enumerate(own, 1):
        yield point
        if turn % EXPLORE == 0:
            yield next(draws)
    yield from draws
