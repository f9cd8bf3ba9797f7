"""Several runs side by side: their measured fronts in one plane, and archs that more than one of them measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.pareto import Direction, as_costs, hypervolume, least, unit
from nas.report.figures import FrontPoint, front_points
from nas.report.read import Record, number

MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """One run: where it was measured, its measured archs fastest first, and the share of the common box they beat."""

    name: str
    device: str
    points: tuple[FrontPoint, ...]
    hypervolume: float


@dataclass(frozen=True, slots=True)
class Shared:
    """An arch that several runs measured: milliseconds in each, None where it was not."""

    digest: str
    outline: str
    latencies: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The runs in the order in which they were asked for; `left_out` says which could not be compared, and why."""

    metric: str
    runs: tuple[Other, ...]
    shared: tuple[Shared, ...]
    left_out: tuple[str, ...]


def compare(record: Record, beside: Sequence[Record]) -> Comparison | None:
    """The run and those beside it that have a measured front in the same metric; None without any beside it."""
    if not beside:
        return None
    names = _names([record, *beside])
    able, left_out = [], []
    for name, one in zip(names, (record, *beside), strict=True):
        points = front_points(one)
        if not points:
            left_out.append(f"{name} has no measured front: run `nas search run.dir={one.name}`")
        elif one.metric != record.metric:
            left_out.append(f"{name} has {one.metric}, not {record.metric}")
        else:
            able.append((name, device(one), tuple(points)))
    fronts = [[(point.latency_ms, point.quality) for point in points] for *_, points in able]
    volumes = common_volumes(fronts, "maximise" if record.is_maximised else "minimise")
    runs = [Other(name=n, device=d, points=p, hypervolume=v) for (n, d, p), v in zip(able, volumes, strict=True)]
    return Comparison(metric=record.metric, runs=tuple(runs), shared=tuple(_shared(runs)), left_out=tuple(left_out))


def device(record: Record) -> str:
    """What the run was measured on, in a few words; empty if not known."""
    name, runtime = (str(record.device.get(key) or "") for key in ("cpu", "runtime"))
    threads = number(record.device.get("threads"))
    words = (str(record.device.get("gpu") or name), runtime, f"threads: {threads:g}" if threads else "")
    return ", ".join(word for word in words if word) if name else ""


def _names(records: Sequence[Record]) -> list[str]:
    """Names of run folders, told apart where several are the same."""
    names = [record.name for record in records]
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def common_volumes(fronts: Sequence[Sequence[tuple[float, float]]], quality: Direction) -> list[float]:
    """Hypervolume of each front of milliseconds and quality, as a share of the box that all of them span together."""
    if not fronts:
        return []
    costs = unit(as_costs([place for front in fronts for place in front], ["minimise", quality]))
    ends = np.cumsum([0, *map(len, fronts)])
    box = (1.0 + MARGIN) ** 2
    parts = (costs[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True))
    return [hypervolume(part, [1.0 + MARGIN] * 2, least(part)) / box for part in parts]


def _shared(runs: Sequence[Other]) -> list[Shared]:
    times = [{point.digest: point.latency_ms for point in run.points} for run in runs]
    outlines = {point.digest: point.outline for run in runs for point in run.points}
    found = [Shared(d, outline, tuple(known.get(d) for known in times)) for d, outline in outlines.items()]
    return [one for one in found if sum(ms is not None for ms in one.latencies) > 1]
