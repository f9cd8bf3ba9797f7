"""The search loop: ask, score, write down, tell; for any function from an arch to values."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nas.errors import NasError
from nas.pareto import Points, hypervolume, least
from nas.progress import say, track
from nas.searching.archive import Archive, Evaluation
from nas.searching.executor import Executor, Scored
from nas.searching.problem import Problem
from nas.searching.strategies import Strategy

FAILURES = 5
"""Evaluations in a row that may fail before the search gives up."""
MARGIN = 0.05


def search(
    problem: Problem,
    strategy: Strategy,
    executor: Executor,
    archive: Archive,
    *,
    budget: int,
    known: Mapping[str, Evaluation] | None = None,
    label: str = "search",
) -> list[Evaluation]:
    """Evaluates until the archive holds `budget` archs or the space has no more, and returns the archive's content.

    A search that was killed goes on with the same call. Archs in `known` (by digest) are copied, not scored again.
    """
    loop = _Loop(problem, strategy, archive, known or {})
    for evaluation in archive.evaluations:
        strategy.tell(evaluation.arch, evaluation.values)
    with track(label, budget) as tracker:
        tracker.set(len(archive))
        while len(archive) < budget:
            loop.feed(executor, budget)
            if not executor.pending and len(archive) < budget:
                say(f"{label}: the space has no architecture left within the constraints, after {len(archive)}")
                break
            for result in executor.collect():
                loop.finish(result)
            tracker.set(len(archive), loop.note())
    return archive.evaluations


class _Loop:
    def __init__(self, problem: Problem, strategy: Strategy, archive: Archive, known: Mapping[str, Evaluation]) -> None:
        self._problem, self._strategy, self._archive, self._known = problem, strategy, archive, known
        self._failed = 0

    def feed(self, executor: Executor, budget: int) -> None:
        """Fills the executor's room, taking known archs on the way."""
        while executor.room and len(self._archive) + executor.pending < budget:
            asked = self._strategy.ask(1)
            if not asked:
                return
            if (twin := self._known.get(asked[0].digest)) is not None:
                self._keep(Scored(arch=asked[0], values=twin.values, seconds=0.0, error=twin.error))
            else:
                executor.submit(asked[0])

    def finish(self, result: Scored) -> None:
        """Writes a result down, then tells the strategy; gives up after too many failures in a row."""
        values = {**self._problem.cheap([result.arch])[0], **result.values}
        wrong = [o.name for o in self._problem.objectives if not math.isfinite(values.get(o.name, math.nan))]
        error = result.error or (f"no finite value for {', '.join(wrong)}" if wrong else "")
        self._keep(Scored(arch=result.arch, values={} if error else values, seconds=result.seconds, error=error))
        self._failed = self._failed + 1 if error else 0
        if self._failed >= FAILURES:
            raise NasError(
                f"{FAILURES} evaluations in a row failed, the last with: {error}; the archive holds the reasons. "
                "Mend the cause and start again under another search.name, because failed archs are not tried twice"
            )

    def note(self) -> str:
        """How many archs are on the front."""
        whole = [row.values for row in self._archive.evaluations if not row.error]
        return f"front {len(self._problem.front(whole))}" if whole else ""

    def _keep(self, result: Scored) -> None:
        origin = self._strategy.origin(result.arch)
        self._archive.append(
            Evaluation(
                arch=result.arch, values=result.values, origin=origin, seconds=result.seconds, error=result.error
            )
        )
        self._strategy.tell(result.arch, result.values)


def front_of(problem: Problem, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The feasible, non-dominated evaluations, in the order of the second objective."""
    whole = [row for row in evaluations if not row.error]
    kept = [whole[i] for i in problem.front([row.values for row in whole])] if whole else []
    return sorted(kept, key=lambda row: tuple(problem.points([row.values])[0][1:]))


def hypervolume_curve(
    problem: Problem, evaluations: Sequence[Evaluation], among: Sequence[Evaluation] = ()
) -> list[float]:
    """Share of the objectives' box dominated after each evaluation; never falls.

    The box runs from the best to 5 % beyond the worst value of each objective over `evaluations` and `among`, so that
    curves of several searches compare if each is given the others.
    """
    rows = _rows(problem, [*evaluations, *among])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return [0.0] * len(evaluations)
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = (_rows(problem, evaluations) - low) / np.where(high > low, high - low, 1.0)
    corner = np.full(scaled.shape[1], 1.0 + MARGIN)
    box = (1.0 + MARGIN) ** scaled.shape[1]
    return [hypervolume(scaled[:n], corner, least(scaled)) / box for n in range(1, len(scaled) + 1)]


def _rows(problem: Problem, evaluations: Sequence[Evaluation]) -> Points:
    # what failed or breaks a constraint is infinitely bad: it takes its place on the curve and adds nothing
    worst = np.full(len(problem.objectives), np.inf)
    able = (problem.points([e.values])[0] if not e.error and problem.feasible(e.values) else worst for e in evaluations)
    return np.array(list(able)).reshape(-1, len(problem.objectives))
