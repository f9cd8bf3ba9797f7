"""Are a thousand workers kept busy by one driver, when evaluations take seconds to minutes?

python -m analysis.studies.busy [real|cpu] [workers] [budget] [strategy ...]

Workers are simulated, the driver's work is real: an evaluation ends when a drawn time is over. On the `real` clock that
is so many seconds. On the `cpu` clock the driver's work takes its CPU time, as on a machine that it has for itself, and
nobody really waits; neither for the disk.
"""

import heapq
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.journal import Log
from nas.searching import strategies
from nas.searching.archive import Archive
from nas.searching.engine import search
from nas.searching.executor import Scored, Task
from nas.searching.objectives import Objective, Values
from nas.searching.problem import Problem
from nas.space import as_space

MEDIAN_S, SIGMA = 20.0, 0.6
"""Log-normal times."""
STRAGGLERS, FACTOR = 0.02, 10.0
"""Share of the evaluations that take longer, and how much longer."""
SPACE = {f"knob{i}": [1, 2, 4, 8] for i in range(20)}
PROBLEM = Problem(as_space(SPACE), (Objective("cost"), Objective("gain", "maximise")))


def values_of(point: Any) -> Values:
    values = [float(value) for value in point.values()]
    pairs = sum(math.cos(a * b) for a, b in zip(values, values[1:], strict=False))
    return {"cost": sum(values), "gain": sum(math.log(v) for v in values[::2]) + pairs}


def seconds_of(point: Any) -> float:
    chance = random.Random(point.digest)
    slow = FACTOR if chance.random() < STRAGGLERS else 1.0
    return MEDIAN_S * math.exp(SIGMA * chance.gauss(0.0, 1.0)) * slow


@dataclass(order=True)
class Event:
    """An evaluation and when it ends."""

    end: float
    number: int
    start: float = field(compare=False)
    worker: int = field(compare=False)
    task: Task = field(compare=False)


class Clock:
    """Real seconds, or this process's CPU seconds and those that it would have slept."""

    def __init__(self, kind: str) -> None:
        self._is_real, self._skipped = kind == "real", 0.0

    def now(self) -> float:
        """Seconds."""
        return time.monotonic() if self._is_real else time.process_time() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Lets them pass."""
        if self._is_real:
            time.sleep(seconds)
        else:
            self._skipped += seconds


class Simulated:
    """Workers that only take time; each holds `line` tasks, one running, and begins the next when one ends."""

    def __init__(self, clock: Clock, workers: int, line: int, budget: int) -> None:
        self._clock = clock
        self._workers, self._line, self._budget = workers, line, budget
        self._loads, self._free = [0] * workers, [0.0] * workers
        self._running: list[Event] = []
        self.events: list[Event] = []
        self.submitted: list[float] = []
        self.slept: list[tuple[float, float]] = []
        self.full_at = math.inf

    @property
    def capacity(self) -> int:
        """What all workers hold."""
        return self._line * self._workers

    @property
    def room(self) -> int:
        """What is free of that."""
        return self.capacity - self.pending

    @property
    def pending(self) -> int:
        """Tasks not handed back."""
        return len(self._running)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Each to the worker with the least to do."""
        now = self._clock.now()
        for task in tasks:
            worker = self._loads.index(min(self._loads))
            start = max(now, self._free[worker])
            event = Event(start + seconds_of(task.point), len(self.events), start, worker, task)
            self._free[worker], self._loads[worker] = event.end, self._loads[worker] + 1
            self.events.append(event)
            self.submitted.append(now)
            heapq.heappush(self._running, event)
        if min(self._loads) > 0:
            self.full_at = min(self.full_at, now)

    def collect(self, timeout_s: float | None = None) -> list[Scored]:
        """What has ended, or ends next within the time."""
        if not self._running:
            return []
        # nothing is measured after the last submission, so nobody waits for the last stragglers
        is_over, begun, ended = len(self.submitted) == self._budget, self._clock.now(), []
        if not is_over:
            self._clock.sleep(max(0.0, min(self._running[0].end - begun, math.inf if timeout_s is None else timeout_s)))
        now = math.inf if is_over else self._clock.now()
        self.slept.append((begun, now))
        while self._running and self._running[0].end <= now:
            event = heapq.heappop(self._running)
            self._loads[event.worker] -= 1
            point = event.task.point
            ended.append(Scored(point=point, values=values_of(point), seconds=event.end - event.start))
        return ended

    def close(self) -> None:
        """Nothing to end."""


def overlap(spans: Iterable[tuple[float, float]], start: float, end: float) -> float:
    return sum(max(0.0, min(b, end) - max(a, start)) for a, b in spans)


def run(clock: Clock, name: str, workers: int, line: int, budget: int) -> str:
    executor = Simulated(clock, workers, line, budget)
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Log(Path(folder) / "archive.jsonl"), PROBLEM.space)
        search(PROBLEM, strategies.get(name)(PROBLEM), executor, archive, budget=budget)
        archive.close()
    start, end = executor.full_at, executor.submitted[-1]
    busy = overlap(((e.start, e.end) for e in executor.events), start, end) / (workers * (end - start))
    asked = sum(start < at <= end for at in executor.submitted)
    driver = (end - start - overlap(executor.slept, start, end)) / asked
    return (
        f"{name:10} {workers:7} {line:4} {budget:7} {end - start:9.0f} {asked / (end - start):10.1f} "
        f"{1000 * driver:11.2f} {busy:6.1%}"
    )


def main(kind: str, workers: int, budget: int, names: Sequence[str]) -> None:
    times = [seconds_of(PROBLEM.space.sample(random.Random(i))) for i in range(10_000)]
    cuts = ", ".join(f"{q:.0%} {sorted(times)[int(q * len(times))]:.0f} s" for q in (0.05, 0.5, 0.95, 0.99))
    print(f"times of an evaluation: {cuts}; mean {statistics.mean(times):.0f} s")
    print("strategy   workers line  budget  window_s  proposals/s  driver_ms   busy", flush=True)
    for name in names:
        for line in (2, 1):
            print(run(Clock(kind), name, workers, line, budget), flush=True)


if __name__ == "__main__":
    clock, count, total = sys.argv[1:4] or ("real", "1000", "5000")
    main(clock, int(count), int(total), sys.argv[4:] or ["random", "nsga2", "surrogate"])
