"""Long-lived Ray actors that score archs; the only module that knows Ray."""

import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from nas.arch import Arch
from nas.errors import ConfigError, NasError
from nas.searching.executor import Scored, Scorer, score

IN_FLIGHT = 2
"""Archs per worker: one being scored, one waiting, so that no worker waits for the driver."""
KNOCK_S = 5.0
# ray reads these when it is imported: no usage reports, and no warning about machines without an accelerator
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Worker:
    """What runs in an actor: a scorer, unpacked once, on one thread."""

    def __init__(self, scorer: Scorer) -> None:
        torch.set_num_threads(1)
        self._scorer = scorer

    def score(self, arch: Arch) -> Scored:
        """Values, seconds, and the reason if it failed."""
        return score(self._scorer, arch)

    def pid(self) -> int:
        """The worker's process, for tests and the curious."""
        return os.getpid()


@dataclass(slots=True)
class _Task:
    arch: Arch
    worker: int
    losses: int = 0


@dataclass
class RayExecutor:
    """Scores on `workers` actors of a local Ray, of the one this process has, or of the cluster at `address`."""

    scorer: Scorer
    workers: int
    address: str | None = None
    retries: int = 2
    """How often an arch whose worker died is sent to another before its evaluation counts as failed."""
    _tasks: dict[Any, _Task] = field(default_factory=dict, init=False)
    _lost: deque[Scored] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self._ray = import_ray()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            connect(self._ray, self.workers, self.address)
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(Worker)
        self._payload = self._ray.put(self.scorer)
        self.actors = [self._actor.remote(self._payload) for _ in range(self.workers)]

    @property
    def room(self) -> int:
        """Two archs per worker, less those pending."""
        return max(0, IN_FLIGHT * self.workers - self.pending)

    @property
    def pending(self) -> int:
        """Archs sent and not handed back."""
        return len(self._tasks) + len(self._lost)

    def submit(self, arch: Arch) -> None:
        """Sends the arch to the worker with the least to do."""
        self._send(arch, losses=0)

    def collect(self) -> list[Scored]:
        """Waits for the first result and returns all that are there; archs of dead workers are sent again."""
        results: list[Scored] = []
        while self.pending and not results:
            if self._tasks:
                self._ray.wait(list(self._tasks), num_returns=1)
                ready, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
                results = [result for ref in ready if (result := self._take(ref)) is not None]
            results += list(self._lost)
            self._lost.clear()
        return results

    def close(self) -> None:
        """Ends the actors, and Ray if this executor started it."""
        for actor in self.actors:
            self._ray.kill(actor)
        if self._owned:
            self._ray.shutdown()

    def _send(self, arch: Arch, losses: int) -> None:
        loads = [0] * self.workers
        for task in self._tasks.values():
            loads[task.worker] += 1
        worker = loads.index(min(loads))
        self._tasks[self.actors[worker].score.remote(arch)] = _Task(arch, worker, losses)

    def _take(self, ref: Any) -> Scored | None:
        task = self._tasks.pop(ref, None)
        if task is None:
            return None
        try:
            result: Scored = self._ray.get(ref)
        except self._ray.exceptions.RayActorError as death:
            self._replace(task, death)
            return None
        except self._ray.exceptions.RayTaskError as failure:
            cause = failure.cause
            raise cause if isinstance(cause, NasError) else failure from None
        return result

    def _replace(self, task: _Task, death: Exception) -> None:
        """Starts a new actor for the dead one; its first arch is the suspect, those behind it are sent anew free."""
        refs = [ref for ref, other in self._tasks.items() if other.worker == task.worker]
        waiting = [self._tasks.pop(ref) for ref in refs]
        self.actors[task.worker] = self._actor.remote(self._payload)
        if task.losses < self.retries:
            self._send(task.arch, task.losses + 1)
        else:
            reason = f"its worker died {task.losses + 1} times: {str(death).splitlines()[0]}"
            self._lost.append(Scored(arch=task.arch, values={}, seconds=0.0, error=reason))
        for other in waiting:
            self._send(other.arch, other.losses)


def import_ray() -> Any:
    """Ray, told to be quiet before it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def connect(ray: Any, workers: int, address: str | None) -> None:
    """Starts Ray on this machine, or joins the cluster at `address`; `ConfigError` if that fails."""
    is_local = address in (None, "local")
    local = {"num_cpus": max(1, workers), "include_dashboard": False} if is_local else {}
    try:
        with _own_termination():
            _knock(address or "")
            ray.init(
                address=address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=True, **local
            )
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if is_local:
            raise ConfigError(
                f"search.workers={workers} needs Ray on this machine, which did not start ({reason}): "
                "search.workers=0 scores in this process"
            ) from error
        raise ConfigError(
            f"search.ray.address={address!r} needs a running Ray cluster and none answers there ({reason}): start one "
            "with `ray start --head`, or leave the setting out to use this machine"
        ) from error


def _knock(address: str) -> None:
    """`OSError` at once where nobody listens; Ray would try for minutes and fill the terminal."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


@contextmanager
def _own_termination() -> Iterator[None]:
    """Keeps the program's answer to SIGTERM, which Ray replaces by its own when it starts."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
