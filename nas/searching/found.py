"""What a search found: its archive, and the points that one takes from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import InfeasibleError
from nas.pareto import knee, least
from nas.searching.archive import Evaluation
from nas.searching.curve import front_of, hypervolume_curve
from nas.searching.problem import Problem, finite

ROWS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """All evaluations of a search, oldest first. `print(found)` shows the front."""

    problem: Problem
    evaluations: Sequence[Evaluation]

    @property
    def front(self) -> list[Evaluation]:
        """The feasible, non-dominated evaluations, ordered by the objectives behind the first."""
        return front_of(self.problem, self.evaluations)

    @property
    def curve(self) -> list[float]:
        """Share of the objectives' box that is dominated after each evaluation."""
        return hypervolume_curve(self.problem, self.evaluations)

    @property
    def knee(self) -> Evaluation:
        """The balanced point of the front."""
        rows = self._front()
        points = self.problem.points([row.values for row in rows])
        return rows[knee(points, least(points))]

    def best(self, name: str | None = None, **most: float) -> Evaluation:
        """The point of the front that is best in one objective (the first by default) among those within limits.

        `found.best(latency_ms=5)`: the best quality within 5 ms. A limit bounds from above where less is better, from
        below where more is. `InfeasibleError` if the front has no such point.
        """
        names = [objective.name for objective in self.problem.objectives]
        at = names.index(name) if name else 0
        signs = dict(zip(names, (self.problem.points([dict.fromkeys(names, 1.0)])[0]).tolist(), strict=True))
        rows = self._front()
        able = [row for row in rows if all(signs[n] * (row.values[n] - bound) <= 0 for n, bound in most.items())]
        if not able:
            limits = ", ".join(f"{n}={bound:g}" for n, bound in most.items())
            raise InfeasibleError(f"no point of the front is within {limits}; it holds:\n{self}")
        return min(able, key=lambda row: float(self.problem.points([row.values])[0][at]))

    def closest(self, **wanted: float) -> Evaluation:
        """The point of the front whose values are, in proportion, nearest to those wanted."""
        rows = self._front()
        return min(rows, key=lambda row: sum(abs(np.log(max(row.values[n], 1e-12) / v)) for n, v in wanted.items()))

    def __str__(self) -> str:
        names = [objective.name for objective in self.problem.objectives]
        front = self.front
        failed = sum(bool(row.error) for row in self.evaluations)
        lines = [f"{len(front)} points on the front of {len(self.evaluations)} evaluations, {failed} failed"]
        if not front:
            return "\n".join([*lines, self.nearest()])
        lines.append("  ".join(f"{name:>14}" for name in names) + "  point")
        for row in front[:ROWS]:
            lines.append("  ".join(f"{row.values[n]:>14.6g}" for n in names) + f"  {row.point.digest}")
        return "\n".join([*lines, f"… and {len(front) - ROWS} more"] if len(front) > ROWS else lines)

    def nearest(self) -> str:
        """A sentence about the evaluation that comes closest to meeting the constraints."""
        names = [objective.name for objective in self.problem.objectives]
        whole = [row for row in self.evaluations if row.fidelity == 1.0 and finite(row.values, names)]
        if not whole:
            return "no full evaluation gave values: the archive holds the reasons"
        row = min(whole, key=lambda row: self.problem.violation(row.values))
        rules = ", ".join(map(str, self.problem.constraints))
        values = ", ".join(f"{c.name} {row.values[c.name]:.4g}" for c in self.problem.constraints)
        return f"none of them meets {rules}; the closest, {row.point.digest}, has {values}"

    def _front(self) -> list[Evaluation]:
        front = self.front
        if not front:
            raise InfeasibleError(f"the front is empty: {self.nearest()}")
        return front
