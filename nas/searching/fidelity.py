"""Growing fidelity: a point is scored on little data first, and on more only while it may still enter the front."""

from collections.abc import Sequence

import numpy as np

from nas.pareto import Points
from nas.searching.archive import Evaluation
from nas.searching.executor import Task
from nas.searching.problem import Problem

PAIRS = 8
"""Points that climb unconditionally, so that the error of a low fidelity is known before anything is judged by it."""
WIDTH = 2.0
"""Standard deviations of that error by which a point is bettered before it is judged."""


class Ladder:
    """Which evaluation a result is followed by; learns from points that were scored on several rungs."""

    def __init__(self, problem: Problem, fidelities: Sequence[float] = (1.0,)) -> None:
        self._problem, self._rungs = problem, tuple(fidelities)
        self._low: dict[tuple[str, float], Points] = {}
        self._errors: dict[float, list[Points]] = {rung: [] for rung in self._rungs}
        self._full: list[Points] = []

    @property
    def first(self) -> float:
        """The fidelity that every point starts with."""
        return self._rungs[0]

    def climb(self, result: Evaluation) -> Task | None:
        """The next evaluation of the result's point; None if it is at the top, failed, or cannot enter the front."""
        if len(self._rungs) == 1 or result.error:
            return None
        cost = self._problem.points([result.values])[0]
        digest = result.point.digest
        if result.fidelity == 1.0:
            self._learn(digest, cost)
            if self._problem.feasible(result.values):
                self._full.append(cost)
            return None
        self._low[digest, result.fidelity] = cost
        above = next(rung for rung in self._rungs if rung > result.fidelity)
        return Task(result.point, above) if self._may_enter(cost, result.fidelity) else None

    def _learn(self, digest: str, cost: Points) -> None:
        for rung in self._rungs[:-1]:
            if (low := self._low.get((digest, rung))) is not None:
                self._errors[rung].append(cost - low)

    def _may_enter(self, cost: Points, fidelity: float) -> bool:
        errors = np.array(self._errors[fidelity])
        if len(errors) < PAIRS or not self._full:
            return True
        hoped = cost + errors.mean(axis=0) - WIDTH * errors.std(axis=0)
        known = np.array(self._full)
        is_worse = (known <= hoped).all(axis=1) & (known < hoped).any(axis=1)
        return not is_worse.any()
