"""What waits for a worker: how many tasks travel in one message, and what becomes of those whose worker is lost."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nas.searching.executor import Task

CHUNK_S = 0.075
"""Time that one message to a worker is to last, so that the way there and back does not count."""
MOST = 64
STALE = 8
"""Tasks under way may be this part of those finished, so that a strategy learns from most of what was asked."""
WEIGHT = 0.3

Order = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(slots=True, eq=False)
class Job:
    """A task, the deaths of workers that had nothing else to do, and whether it must have a worker to itself."""

    task: Task
    deaths: float = 0.0
    is_alone: bool = False


class Waiting:
    """Jobs in the order in which they are to be done, and the size of the chunks that they leave in."""

    def __init__(self, workers: int, order: Order | None, timeout_s: float | None) -> None:
        self._jobs: deque[Job] = deque()
        self._workers, self._order = workers, order
        # so that a chunk of the usual length is never near the limit of a single evaluation
        self._chunk_s = CHUNK_S if timeout_s is None else min(CHUNK_S, timeout_s / 4)
        self._mean, self._finished = math.inf, 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def size(self) -> int:
        """Tasks in a chunk: one for slow scorers, more the faster they are and the more is known."""
        fast = self._chunk_s / max(self._mean, 1e-9)
        return max(1, int(min(fast, self._finished / (2 * STALE * self._workers), MOST)))

    @property
    def is_next_alone(self) -> bool:
        """Whether the next job must have a worker to itself."""
        return bool(self._jobs) and self._jobs[0].is_alone

    def learn(self, seconds: Sequence[float]) -> None:
        """How long the evaluations of a chunk took."""
        mean = sum(seconds) / len(seconds)
        self._mean = mean if self._finished == 0 else self._mean + WEIGHT * (mean - self._mean)
        self._finished += len(seconds)

    def add(self, tasks: Sequence[Task]) -> None:
        """New tasks at the end."""
        self._jobs.extend(map(Job, tasks))

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Jobs that were sent in vain, at the front and as they were."""
        self._jobs.extendleft(reversed(jobs))

    def take(self, most: int) -> list[Job]:
        """The next chunk, of up to `most`; as the scorer likes them ordered, if it cares."""
        taken = [self._jobs.popleft()]
        while self._jobs and len(taken) < most and not (taken[0].is_alone or self._jobs[0].is_alone):
            taken.append(self._jobs.popleft())
        if self._order is None or len(taken) == 1:
            return taken
        place = {point: i for i, point in enumerate(self._order([job.task.point for job in taken]))}
        return sorted(taken, key=lambda job: place[job.task.point])
