"""Actors that are started, and started again when they end; those that have not started yet hold no work."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.errors import ConfigError, NasError
from nas.progress import say
from nas.searching.chunks import Job
from nas.searching.cluster import Worker, deaths, offered, options, reason, threads, took_its_node, wanted
from nas.searching.executor import Scorer
from nas.searching.settings import RayConfig

LINE = 2
"""Chunks that an actor holds: one being scored, one waiting, so that no actor waits for the driver."""
PATIENCE_S = 30.0
STARTS = 3
"""Failed starts in a row, per actor, after which no further are tried."""


@dataclass(slots=True, eq=False)
class Actor:
    """One actor and what it was sent, oldest first."""

    handle: Any
    birth: Any
    """What it answers once it has started; None afterwards."""
    line: deque[tuple[Any, list[Job]]] = field(default_factory=deque)
    since: float = 0.0
    """When it began with the first of its line."""

    @property
    def next(self) -> Any:
        """The answer that comes next from it, if any does."""
        if self.birth is not None:
            return self.birth
        return self.line[0][0] if self.line else None

    @property
    def is_reserved(self) -> bool:
        """Whether it has a job that must be alone."""
        return bool(self.line) and self.line[0][1][0].is_alone

    def send(self, jobs: list[Job]) -> None:
        """Adds a chunk to the line."""
        if not self.line:
            self.since = time.monotonic()
        self.line.append((self.handle.score.remote([job.task for job in jobs]), jobs))

    def finish(self) -> list[Job]:
        """Takes the first chunk out of the line."""
        self.since = time.monotonic()
        return self.line.popleft()[1]


class Crew:
    """As many actors as asked for; the scorer is put into the cluster once and fetched by each."""

    def __init__(self, ray: Any, scorer: Scorer, workers: int, config: RayConfig) -> None:
        self._ray, self._config = ray, config
        self._kind = ray.remote(**options(config))(Worker)
        try:
            self._scorer = ray.put(scorer)
        except (TypeError, AttributeError) as error:
            text = str(error).partition("\n")[0]
            raise ConfigError(
                f"workers need a copy of the objective, and this one cannot be pickled ({text}): make it of functions "
                "and plain data, or set workers to 0"
            ) from error
        self.actors = [self._start() for _ in range(workers)]
        self._failed = 0
        self._alive = time.monotonic()

    @property
    def ready(self) -> list[Actor]:
        """Those that have started."""
        return [actor for actor in self.actors if actor.birth is None]

    def free(self, *, is_alone: bool) -> Actor | None:
        """The one with the least to do, if its line has a place; with nothing to do, for a job that must be alone."""
        able = (actor for actor in self.ready if not actor.is_reserved)
        least = min(able, key=lambda actor: len(actor.line), default=None)
        return least if least is not None and len(least.line) < (1 if is_alone else LINE) else None

    def answered(self, timeout_s: float) -> list[Actor]:
        """Those that have something to say, once there is one or the time is over."""
        asked = {actor.next: actor for actor in self.actors if actor.next is not None}
        if not asked:
            return []
        refs = list(asked)
        if not self._ray.wait(refs, num_returns=1, timeout=timeout_s)[0]:
            return []
        # the first wait may end with one of many answers
        return [asked[ref] for ref in self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]]

    def admit(self, actor: Actor) -> None:
        """Notes that the actor has started, or replaces it if it could not; `NasError` if none can."""
        try:
            self._ray.get(actor.birth)
        except deaths(self._ray) as death:
            self._count(death)
            self.replace(actor)
            return
        actor.birth, self._failed = None, 0

    def replace(self, actor: Actor) -> list[Job]:
        """Ends the actor, puts a new one in its place, and returns what was in its line."""
        self._ray.kill(actor.handle)
        self.actors[self.actors.index(actor)] = self._start()
        return [job for _, jobs in actor.line for job in jobs]

    def watch(self) -> None:
        """Says a word if nobody has been there for long."""
        now = time.monotonic()
        if self.ready:
            self._alive = now
        elif now - self._alive > PATIENCE_S:
            self._alive = now
            say(
                f"no worker could start for {PATIENCE_S:.0f} s: each asks for {wanted(self._config)}, and the cluster "
                f"has {offered(self._ray)} in all; still waiting, see `ray status` and search.ray"
            )

    def close(self) -> None:
        """Ends all."""
        for actor in self.actors:
            self._ray.kill(actor.handle)

    def _start(self) -> Actor:
        handle = self._kind.remote(self._scorer, threads(self._config))
        return Actor(handle, handle.pid.remote())

    def _count(self, death: Exception) -> None:
        """`NasError` for a start that fails by itself: at once if the scorer cannot be loaded, else after some."""
        if took_its_node(self._ray, death):
            return
        self._failed += 1
        if getattr(death, "actor_init_failed", False):
            raise NasError(f"a worker could not load the objective: {_last_line(death)}")
        if self._failed >= STARTS * len(self.actors):
            raise NasError(f"{self._failed} workers in a row ended before they had started: {reason(death)}")


def _last_line(death: Exception) -> str:
    lines: Sequence[str] = [line.strip() for line in str(death).splitlines() if line.strip()]
    return lines[-1] if lines else type(death).__name__
