"""Figures of a search for `summary.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.arch import Arch
from nas.searching.front import violations
from nas.searching.job import Outcome

Figures = dict[str, float | int | None]


def summary(
    outcome: Outcome, rows: Sequence[Mapping[str, Any]], metric: str, latency_bound: float | None = None
) -> Figures:
    """Figures under dotted names; `rows` are those of `front.json`, latencies in milliseconds.

    search.evaluations, .failed, .duplicates, .spent, .seconds_per_evaluation: the archive; spent in full evaluations
    search.hypervolume, .random.hypervolume: share of the objectives' box dominated at the end of each
    search.random.evaluations, .evaluations_to_random: the baseline's, and how many of ours reach its hypervolume
    search.front.measured, .violations: archs measured, and those beyond the latency bound although predicted within it
    search.front.size, .operators, .<metric>.min/.max, .latency_ms.min/.max/.ratio: measured front
    """
    evaluations, (ours, random) = outcome.evaluations, outcome.curves
    distinct = {(row.point.digest, row.fidelity) for row in evaluations}
    scored = [row.seconds for row in evaluations if not row.error]
    figures: Figures = {
        "search.evaluations": len(evaluations),
        "search.failed": len(evaluations) - len(scored),
        "search.duplicates": len(evaluations) - len(distinct),
        "search.spent": round(sum(row.fidelity for row in evaluations), 6),
        "search.seconds_per_evaluation": sum(scored) / len(scored) if scored else None,
        "search.hypervolume": ours[-1] if ours else None,
        "search.random.evaluations": len(random),
        "search.random.hypervolume": random[-1] if random else None,
        "search.evaluations_to_random": _reach(ours, random[-1]) if random else None,
    }
    if latency_bound is not None:
        figures |= {"search.front.measured": len(rows), "search.front.violations": violations(rows, latency_bound)}
    return figures | _front([row for row in rows if row["is_front"]], metric)


def _reach(curve: Sequence[float], level: float) -> int | None:
    return next((count for count, volume in enumerate(curve, 1) if volume >= level), None)


def _front(rows: Sequence[Mapping[str, Any]], metric: str) -> Figures:
    mixers = {block.operator.name for row in rows for block in Arch.from_dict(row["arch"]).blocks}
    figures: Figures = {"search.front.size": len(rows), "search.front.operators": len(mixers)}
    if not rows:
        return figures
    for name in ("latency_ms", metric):
        values = [float(row["measured"][name]) for row in rows]
        figures |= {f"search.front.{name}.min": min(values), f"search.front.{name}.max": max(values)}
    low, high = figures["search.front.latency_ms.min"], figures["search.front.latency_ms.max"]
    return figures | {"search.front.latency_ms.ratio": high / low if low and high else None}
