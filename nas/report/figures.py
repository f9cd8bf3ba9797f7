"""What each chart shows, as plain values: one function per figure, nothing drawn."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from nas.arch import describe
from nas.pareto import front
from nas.report.read import Point, Record, number, numbers
from nas.report.stacks import leading_family, outline
from nas.searching.objectives import STANDALONE

MOST_POINTS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A measured arch: latency in milliseconds with half its spread to each side, the metric on all of val."""

    digest: str
    outline: str
    blocks: tuple[str, ...]
    family: str
    latency_ms: float
    low_ms: float
    high_ms: float
    quality: float
    quality_expected: float | None
    """What training alone is expected to give, where the search went by that."""
    quality_alone: float | None
    """The metric on val after training alone."""
    quality_test: float | None
    params: float | None
    flops: float | None
    kv_cache_bytes: float | None
    is_front: bool
    is_knee: bool
    is_edge: bool
    """Whether no other measured arch is both faster and better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """An arch as the search saw it: predicted latency, the metric on part of val."""

    digest: str
    outline: str
    family: str
    source: str
    latency_ms: float
    quality: float
    params: float | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a line: `name` says which."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class StageCost:
    """Seconds that a stage took."""

    stage: str
    seconds: float


def front_points(record: Record) -> list[FrontPoint]:
    """The measured archs, fastest first."""
    whole = [p for p in record.front if "latency_ms" in p.measured and record.metric in p.measured]
    whole.sort(key=lambda point: point.measured["latency_ms"])
    edge = set(_edge(record, [(p.measured["latency_ms"], p.measured[record.metric]) for p in whole]))
    return [_front_point(record, point, is_edge=i in edge) for i, point in enumerate(whole)]


def alone_val(point: FrontPoint) -> str:
    """The metric on val after training alone; after `~` what is expected where it was not trained."""
    if point.quality_alone is not None:
        return f"{point.quality_alone:.4f}"
    return "" if point.quality_expected is None else f"~{point.quality_expected:.4f}"


def evaluated_points(record: Record) -> list[Evaluated]:
    """Every different evaluated arch, thinned evenly to what a browser draws at ease."""
    sources = [("search", record.evaluated), ("random", record.random)]
    unique = {p.arch.digest: (source, p) for source, points in reversed(sources) for p in points}
    able = [(s, p) for s, p in unique.values() if "latency_ms" in p.values and record.metric in p.values]
    step = max(1, -(-len(able) // MOST_POINTS))
    return [_evaluated(record, source, point) for source, point in able[::step]]


def hypervolume_curves(record: Record) -> list[CurvePoint]:
    """Share of the objectives' box dominated after each evaluation, of the search and then of random search."""
    named = sorted(record.curves.items(), key=lambda curve: curve[0] != "search")
    return [CurvePoint(name, float(count), share) for name, shares in named for count, share in enumerate(shares, 1)]


def hypervolume_times(record: Record) -> list[CurvePoint]:
    """The same over the seconds that the evaluations took, all workers together; empty of rows that do not say."""
    sources = {"search": record.evaluated, "random": record.random}
    found = []
    for name, points in sources.items():
        shares, seconds = record.curves.get(name, ()), list(itertools.accumulate(point.seconds for point in points))
        if len(shares) == len(points) and seconds and seconds[-1] > 0:
            found += [CurvePoint(name, at, share) for at, share in zip(seconds, shares, strict=True)]
    return found


def training_curves(record: Record) -> list[CurvePoint]:
    """Loss over steps of each kind of subnet that a step trains."""
    return [
        CurvePoint(name.removeprefix("loss."), step, loss)
        for row in record.training
        if (step := number(row.get("step"))) is not None
        for name, loss in numbers(row).items()
        if name.startswith("loss.")
    ]


def stage_costs(record: Record) -> list[StageCost]:
    """Seconds of every stage, in the order in which stages run."""
    order = ("train", "profile", "fit", "search", "retrain", "export", "report")
    found = {name.split(".")[1]: value for name, value in numbers(record.summary).items() if _is_cost(name)}
    known = [name for name in order if name in found]
    return [StageCost(name, found[name]) for name in (*known, *sorted(found.keys() - set(order)))]


def _is_cost(name: str) -> bool:
    return name.startswith("stage.") and name.endswith(".seconds") and name.count(".") == 2


def _edge(record: Record, points: Sequence[tuple[float, float]]) -> list[int]:
    return [int(i) for i in front(points, ["minimise", "maximise" if record.is_maximised else "minimise"])]


def _front_point(record: Record, point: Point, *, is_edge: bool) -> FrontPoint:
    latency, spread = point.measured["latency_ms"], point.measured.get("latency_spread_ms", 0.0)
    alone = record.retrained.get(point.arch.digest, {})
    return FrontPoint(
        digest=point.arch.digest,
        outline=outline(point.arch),
        blocks=tuple(describe(block) for block in point.arch.blocks),
        family=leading_family(point.arch),
        latency_ms=latency,
        low_ms=latency - spread / 2,
        high_ms=latency + spread / 2,
        quality=point.measured[record.metric],
        quality_expected=point.measured.get(STANDALONE),
        quality_alone=number(alone.get("val")),
        quality_test=number(alone.get("test")),
        params=point.values.get("params"),
        flops=point.values.get("flops"),
        kv_cache_bytes=point.values.get("kv_cache_bytes"),
        is_front=point.is_front,
        is_knee=point.is_knee,
        is_edge=is_edge,
    )


def _evaluated(record: Record, source: str, point: Point) -> Evaluated:
    return Evaluated(
        digest=point.arch.digest,
        outline=outline(point.arch),
        family=leading_family(point.arch),
        source=source,
        latency_ms=point.values["latency_ms"],
        quality=point.values[record.metric],
        params=point.values.get("params"),
    )
