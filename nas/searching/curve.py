"""The front of an archive, and how its hypervolume grew."""

from collections.abc import Sequence

import numpy as np

from nas.pareto import Points, hypervolume, least
from nas.searching.archive import EXACT, Evaluation
from nas.searching.problem import Problem

MARGIN = 0.05


def front_of(problem: Problem, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The feasible, non-dominated evaluations, in the order of the second objective."""
    whole = [row for row in evaluations if not row.error and row.fidelity == 1.0]
    kept = [whole[i] for i in problem.front([row.values for row in whole])] if whole else []
    return sorted(kept, key=lambda row: tuple(problem.points([row.values])[0][1:]))


def hypervolume_curve(
    problem: Problem, evaluations: Sequence[Evaluation], among: Sequence[Evaluation] = ()
) -> list[float]:
    """Share of the objectives' box dominated after the worth of each full evaluation; never falls.

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
    counts = _rows_within([row.fidelity for row in evaluations])
    return [hypervolume(scaled[:n], corner, least(scaled)) / box for n in counts]


def _rows_within(fidelities: Sequence[float]) -> list[int]:
    """How many rows cost no more than 1, 2, 3, … full evaluations; the last entry is all of them."""
    spent = np.cumsum(fidelities)
    marks = np.arange(1, np.ceil(spent[-1] - EXACT) + 1) if len(spent) else np.empty(0)
    counts = np.searchsorted(spent, marks + EXACT, side="right")
    return [*counts[:-1].tolist(), len(spent)] if len(counts) else []


def _rows(problem: Problem, evaluations: Sequence[Evaluation]) -> Points:
    # what failed, breaks a constraint or is not fully evaluated is infinitely bad: it takes its place and adds nothing
    worst = np.full(len(problem.objectives), np.inf)
    counts = [not e.error and e.fidelity == 1.0 and problem.feasible(e.values) for e in evaluations]
    rows = [problem.points([e.values])[0] if is_able else worst for e, is_able in zip(evaluations, counts, strict=True)]
    return np.array(rows).reshape(-1, len(problem.objectives))
