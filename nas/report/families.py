"""Does the front depend on operators? What is left of it with one family of operators alone, or without it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.pareto import Direction, Points, as_costs, front, hypervolume, least, unit
from nas.report.read import Point, Record
from nas.report.stacks import families_of

MARGIN = 0.05
QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class AtLatency:
    """Best metric of archs that are at most this slow; None if there are none."""

    latency_ms: float
    best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restricted:
    """The evaluated archs under a restriction: how many, their share of the whole hypervolume, their best by budget."""

    archs: int
    share: float
    at: tuple[AtLatency, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """One family: archs that mix with nothing else, and archs that do without it."""

    family: str
    only: Restricted
    without: Restricted


@dataclass(frozen=True, slots=True)
class Dependences:
    """All families, and the whole that they are compared with."""

    whole: Restricted
    families: tuple[Dependence, ...]


def dependences(record: Record) -> Dependences | None:
    """Over every evaluated arch, in predicted latency and the metric on part of val; None with fewer than two."""
    points = unique(record)
    if len(points) < 2:
        return None
    scale = _Scale(record, points)
    names = sorted(frozenset().union(*(families_of(p.arch) for p in points)))
    return Dependences(scale.restricted(lambda _: True), tuple(_dependence(scale, name) for name in names))


class _Scale:
    """One box, one set of latency budgets and one total for all restrictions."""

    def __init__(self, record: Record, points: Sequence[Point]) -> None:
        self._points, self._metric = points, record.metric
        self._directions: list[Direction] = ["minimise", "maximise" if record.is_maximised else "minimise"]
        self._costs = unit(as_costs([_values(p, self._metric) for p in points], self._directions))
        self._budgets = _budgets(self._costs, [p.values["latency_ms"] for p in points])
        self._total = self._volume(self._costs)

    def restricted(self, keep: Callable[[frozenset[str]], bool]) -> Restricted:
        """The figures of the archs whose families are kept."""
        index = [i for i, point in enumerate(self._points) if keep(families_of(point.arch))]
        return Restricted(
            archs=len(index),
            share=self._volume(self._costs[index]) / self._total if index else 0.0,
            at=tuple(AtLatency(ms, self._best([self._points[i].values for i in index], ms)) for ms in self._budgets),
        )

    def _volume(self, costs: Points) -> float:
        return hypervolume(costs, [1.0 + MARGIN] * costs.shape[1], least(costs))

    def _best(self, values: Sequence[Mapping[str, float]], budget: float) -> float | None:
        able = [row[self._metric] for row in values if row["latency_ms"] <= budget]
        pick = max if self._directions[1] == "maximise" else min
        return pick(able) if able else None


def _dependence(scale: _Scale, family: str) -> Dependence:
    return Dependence(
        family=family,
        only=scale.restricted(lambda found: found <= {family}),
        without=scale.restricted(lambda found: family not in found),
    )


def unique(record: Record) -> list[Point]:
    """Every different arch that was evaluated, in predicted latency and the metric on part of val."""
    needed = {"latency_ms", record.metric}
    able = (p for p in (*record.random, *record.evaluated) if needed <= p.values.keys())
    return list({p.arch.digest: p for p in able}.values())


def _values(point: Point, metric: str) -> tuple[float, float]:
    return point.values["latency_ms"], point.values[metric]


def _budgets(costs: Points, latencies: Sequence[float]) -> tuple[float, ...]:
    best = np.array(latencies)[front(costs, least(costs))]
    return tuple(float(ms) for ms in np.quantile(best, QUANTILES, method="nearest"))
