"""After the search: the front measured on the device and scored on all validation data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.arch import Arch
from nas.pareto import knee, least, spread
from nas.searching.archive import Evaluation
from nas.searching.curve import front_of
from nas.searching.objectives import LATENCY, UPPER, Values
from nas.searching.problem import Problem

Measure = Callable[[Sequence[Arch]], Sequence[tuple[float, float]]]
"""Median latency and its spread in milliseconds, one pair per arch."""
Rescore = Callable[[Sequence[Arch]], Sequence[Values]]
"""The task's metric and whatever else weights tell on all of val, by name, for each arch."""


def finish_front(
    problem: Problem,
    evaluations: Sequence[Evaluation],
    *,
    metric: str,
    measure: Measure,
    rescore: Rescore,
    cap: int = 12,
) -> list[dict[str, Any]]:
    """Rows for `front.json`: the front's archs with searched and measured values, cheapest first.

    Up to `cap` archs that lie far apart are measured. `is_front` says whether the arch is still non-dominated and
    within the constraints on the measured values, `is_knee` marks the balanced one among those.
    """
    chosen = _cap(problem, front_of(problem, evaluations), cap)
    archs = [row.point for row in chosen]
    times, scores = measure(archs), rescore(archs)
    rows = [_row(row, metric, time, score) for row, time, score in zip(chosen, times, scores, strict=True)]
    values = [_measured(row) for row in rows]
    kept = problem.front(values)
    balanced = _knee(problem, [values[i] for i in kept])
    for i, row in enumerate(rows):
        row |= {"is_front": i in kept, "is_knee": bool(kept) and i == kept[balanced]}
    return sorted(rows, key=lambda row: float(row["measured"]["latency_ms"]))


def violations(rows: Sequence[Mapping[str, Any]], bound: float) -> int:
    """How many of the measured archs, all of which the search took to be within the bound, exceed it."""
    return sum(float(row["measured"][LATENCY]) > bound for row in rows)


def _measured(row: Mapping[str, Any]) -> dict[str, float]:
    found: Mapping[str, float] = row["measured"]
    # once measured, a latency is its own bound
    return {**row["values"], **found, UPPER: found[LATENCY]}


def _cap(problem: Problem, rows: list[Evaluation], cap: int) -> list[Evaluation]:
    if len(rows) <= cap:
        return rows
    points = problem.points([row.values for row in rows])
    return [rows[int(i)] for i in spread(points, cap, least(points))]


def _knee(problem: Problem, values: Sequence[Values]) -> int:
    points = problem.points(values)
    return knee(points, least(points)) if len(points) else 0


def _row(row: Evaluation, metric: str, time: tuple[float, float], score: Values) -> dict[str, Any]:
    return {
        "arch": row.point.to_dict(),
        "digest": row.point.digest,
        "origin": row.origin,
        "values": dict(row.values),
        "measured": {LATENCY: time[0], "latency_spread_ms": time[1], "quality_val": score[metric], **score},
    }
