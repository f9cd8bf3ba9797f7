"""How many evaluations a second go through two Ray actors, beside what Ray itself can do?

python -m analysis.studies.throughput [budget] [repeats]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas.arch import Knob
from nas.journal import Log
from nas.searching import cluster, strategies
from nas.searching.archive import Archive
from nas.searching.chunks import MOST
from nas.searching.engine import Pace, search
from nas.searching.executor import Task
from nas.searching.objectives import Objective, Values
from nas.searching.problem import Problem
from nas.searching.settings import RayConfig
from nas.searching.workers import RayExecutor
from nas.space import as_space

WORKERS, KNOBS = 2, 20
SPACE = {f"knob{i}": [1, 2, 4, 8] for i in range(KNOBS)}
OBJECTIVES = (Objective("cost"), Objective("gain", "maximise"))


class Idle:
    """An actor that does nothing."""

    def call(self, items: list[int]) -> list[int]:
        """What it was given."""
        return items


def trivial(point: Mapping[str, Knob]) -> Values:
    values = [float(value) for value in point.values()]
    return {"cost": sum(values), "gain": values[0] / values[-1]}


def main(budget: int = 5_000, repeats: int = 3) -> None:
    ray = cluster.import_ray()
    cluster.connect(ray, WORKERS, RayConfig())
    show("Ray alone, calls one by one", budget, repeats, lambda: calls(ray, budget, 1))
    show(f"Ray alone, calls of {MOST}", budget, repeats, lambda: calls(ray, budget, MOST))
    show("search, random strategy", budget, repeats, lambda: whole(budget))
    show("the same, reproducible", budget, repeats, lambda: whole(budget, Pace(reproducible=True)))
    ray.shutdown()


def show(label: str, count: int, repeats: int, run: Callable[[], float]) -> None:
    rates = [count / run() for _ in range(repeats)]
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    print(f"{label:30} {statistics.median(rates):9,.0f} a second  ({spread}; {repeats} x {count:,})", flush=True)


def calls(ray: Any, count: int, size: int) -> float:
    """Seconds that as many items take through two actors that do nothing, each holding two calls."""
    actors = [ray.remote(num_cpus=1)(Idle).remote() for _ in range(WORKERS)]
    ray.get([actor.call.remote([]) for actor in actors])
    start, sent, pending = time.perf_counter(), 0, dict[Any, Any]()
    while sent < count or pending:
        for actor in actors:
            while sent < count and sum(owner is actor for owner in pending.values()) < 2:
                pending[actor.call.remote(list(range(size)))] = actor
                sent += size
        for ref in ray.wait(list(pending), num_returns=1)[0]:
            ray.get(ref)
            del pending[ref]
    seconds = time.perf_counter() - start
    for actor in actors:
        ray.kill(actor)
    return seconds


def whole(budget: int, pace: Pace | None = None) -> float:
    """Seconds of a search from its first proposal to its last row on disk, actors ready before."""
    problem = Problem(as_space(SPACE), OBJECTIVES)
    executor = RayExecutor(trivial, WORKERS)
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Log(Path(folder) / "archive.jsonl"), problem.space)
        warm(executor)
        start = time.perf_counter()
        found = search(problem, strategies.get("random")(problem), executor, archive, budget=budget, pace=pace)
        seconds = time.perf_counter() - start
        archive.close()
    executor.close()
    assert len({row.point for row in found}) == budget
    return seconds


def warm(executor: RayExecutor) -> None:
    """Waits for all actors; the executor tells of a new one only while it has work."""
    task = Task(Problem(as_space(SPACE), OBJECTIVES).founders[0])
    while executor.room < executor.capacity or executor.pending:
        if not executor.pending:
            executor.submit([task])
        executor.collect()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
