"""Scoring on Ray: chunks of tasks to long-lived actors, which may hang, die, be taken away, or come later."""

import math
import time
from collections.abc import Sequence
from typing import Any

from nas.errors import NasError
from nas.progress import say
from nas.searching.chunks import Job, Waiting
from nas.searching.cluster import Answer, connect, deaths, import_ray, reason, took_its_node
from nas.searching.crew import LINE, Actor, Crew
from nas.searching.executor import Scored, Scorer, Task, too_long
from nas.searching.settings import RayConfig

NODE_SHARE = 0.25
"""What the loss of a whole node counts against the task that was at work there, where the death of a worker counts 1.

Nodes are lost for their own reasons; but a task that takes one after the other with it must come to an end, too.
"""
LATENCY_S = 0.5
"""Time for the way to a worker and back, before an evaluation counts as too long."""
STEP_S = 5.0


class RayExecutor:
    """Scores on `workers` actors of a Ray that this process has, of the cluster at the address, or of a local one.

    Tasks go only to actors that have started. Those of an actor that dies are asked again, each alone on an actor, so
    that the one that it died of becomes known: it is tried `retries` more times, then its evaluation counts as failed.
    """

    def __init__(
        self, scorer: Scorer, workers: int, config: RayConfig | None = None, *, timeout_s: float | None = None
    ) -> None:
        config = config or RayConfig()
        self._ray = import_ray()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            connect(self._ray, workers, config)
        self._retries, self._timeout_s = config.retries, timeout_s
        self._deaths = deaths(self._ray)
        self._waiting = Waiting(workers, getattr(scorer, "order", None), timeout_s)
        self._crew = Crew(self._ray, scorer, workers, config)
        self._ended: list[Scored] = []
        self._losses: list[Exception] = []
        self._sent = 0

    @property
    def capacity(self) -> int:
        """Two tasks per worker, whatever its speed, so that an order that depends on it does not depend on time."""
        return LINE * len(self._crew.actors)

    @property
    def room(self) -> int:
        """Two chunks per worker that has started, less what is pending; more than `capacity` if the scorer is fast."""
        return max(0, LINE * self._waiting.size * max(1, len(self._crew.ready)) - self.pending)

    @property
    def pending(self) -> int:
        """Tasks taken and not handed back."""
        return len(self._waiting) + self._sent + len(self._ended)

    @property
    def actors(self) -> list[Any]:
        """Ray's handles of the actors, for tests and the curious."""
        return [actor.handle for actor in self._crew.actors]

    def submit(self, tasks: Sequence[Task]) -> None:
        """Takes tasks; whole chunks go out at once, the rest at the next `collect`."""
        self._waiting.add(tasks)
        self._dispatch(at_least=self._waiting.size)

    def collect(self, timeout_s: float | None = None) -> list[Scored]:
        """Results, or nothing after the time; also nothing, and early, when a worker has started and there is room."""
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self.pending and not self._ended:
            self._dispatch()
            has_started = self._hear(end)
            self._end_hanging()
            self._crew.watch()
            if time.monotonic() >= end or (has_started and self.room):
                break
        self._report()
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Ends the actors, and Ray if this executor started it."""
        self._crew.close()
        if self._owned:
            self._ray.shutdown()

    def _dispatch(self, at_least: int = 1) -> None:
        while len(self._waiting) >= at_least:
            actor = self._crew.free(is_alone=self._waiting.is_next_alone)
            if actor is None:
                return
            idle = sum(not other.line for other in self._crew.ready)
            jobs = self._waiting.take(min(self._waiting.size, math.ceil(len(self._waiting) / max(1, idle))))
            actor.send(jobs)
            self._sent += len(jobs)

    def _hear(self, end: float) -> bool:
        """Takes what the actors say by then; whether one of them has started."""
        before = len(self._crew.ready)
        for actor in self._crew.answered(max(0.0, min(end, self._alarm()) - time.monotonic())):
            if actor.birth is not None:
                self._crew.admit(actor)
            else:
                self._take(actor)
        return len(self._crew.ready) > before

    def _take(self, actor: Actor) -> None:
        try:
            answers: list[Answer] = self._ray.get(actor.next)
        except self._deaths as death:
            self._bury(actor, death)
            return
        except self._ray.exceptions.RayTaskError as failure:
            cause = failure.cause
            raise cause if isinstance(cause, NasError) else failure from None
        jobs = actor.finish()
        self._sent -= len(jobs)
        self._waiting.learn([answer.seconds for answer in answers])
        self._ended += [_scored(job, answer) for job, answer in zip(jobs, answers, strict=True)]

    def _bury(self, actor: Actor, death: Exception) -> None:
        """Replaces the actor; a job that it had nothing else beside is to blame, else all it had are suspects.

        Also those before the one that it died of: their answers may have been lost on the way.
        """
        self._losses.append(death)
        jobs = self._clear(actor)
        if len(jobs) == 1:
            jobs[0].deaths += NODE_SHARE if took_its_node(self._ray, death) else 1.0
        self._isolate(jobs)
        if jobs[0].deaths >= self._retries + 1:
            self._fail(jobs.pop(0), f"its worker died {self._retries + 1} times: {reason(death)}")
        self._waiting.put_back(jobs)

    def _end_hanging(self) -> None:
        """Ends actors whose evaluation is beyond its time; who it is in a chunk shows when they are asked singly."""
        if self._timeout_s is None:
            return
        latest = time.monotonic() - self._timeout_s - LATENCY_S
        for actor in [actor for actor in self._crew.ready if actor.line and actor.since < latest]:
            first = len(actor.line[0][1])
            jobs = self._clear(actor)
            if first == 1:
                self._fail(jobs.pop(0), too_long(self._timeout_s), self._timeout_s)
            else:
                self._isolate(jobs[:first])
            self._waiting.put_back(jobs)

    def _clear(self, actor: Actor) -> list[Job]:
        """Replaces the actor and returns all that it had."""
        jobs = self._crew.replace(actor)
        self._sent -= len(jobs)
        return jobs

    def _isolate(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.is_alone = True

    def _fail(self, job: Job, error: str, seconds: float = 0.0) -> None:
        self._ended.append(_scored(job, Answer({}, seconds, error)))

    def _alarm(self) -> float:
        """When to look up even if nobody says anything."""
        now = time.monotonic()
        if self._timeout_s is None:
            return now + STEP_S
        begun = min((actor.since for actor in self._crew.ready if actor.line), default=now + STEP_S)
        return min(now + STEP_S, begun + self._timeout_s + LATENCY_S)

    def _report(self) -> None:
        if self._losses:
            count = f"{len(self._losses)} workers were" if len(self._losses) > 1 else "a worker was"
            say(f"{count} lost and will be replaced, what it was at is asked again: {reason(self._losses[-1])}")
            self._losses.clear()


def _scored(job: Job, answer: Answer) -> Scored:
    return Scored(
        point=job.task.point,
        values=answer.values,
        seconds=answer.seconds,
        error=answer.error,
        fidelity=job.task.fidelity,
    )
