"""Ray itself: starting or joining it, what a worker asks it for, and what it says of workers that have ended."""

import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from nas.errors import ConfigError
from nas.searching.allocator import keep_freed_memory
from nas.searching.executor import Scorer, Task, score
from nas.searching.objectives import Values
from nas.searching.settings import RayConfig

KNOCK_S = 5.0
# ray reads these when it is imported: no usage reports, and no warning about machines without an accelerator
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker sends back for a task; the point itself does not travel twice."""

    values: Values
    seconds: float
    error: str


class Worker:
    """What runs in an actor: a scorer, unpacked once, on as many threads as the actor has cores."""

    def __init__(self, scorer: Scorer, threads: int) -> None:
        torch.set_num_threads(threads)
        keep_freed_memory()
        self._scorer = scorer

    def score(self, tasks: Sequence[Task]) -> list[Answer]:
        """Values, seconds, and the reason if it failed, of each."""
        results = (score(self._scorer, task) for task in tasks)
        return [Answer(result.values, result.seconds, result.error) for result in results]

    def pid(self) -> int:
        """The worker's process: who answers has started."""
        return os.getpid()


def import_ray() -> Any:
    """Ray, told to be quiet before it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def connect(ray: Any, workers: int, config: RayConfig, *, section: str = "search") -> None:
    """Starts Ray on this machine, or joins the cluster at the address; `ConfigError` if that fails.

    Without an address in the settings that of the environment counts, which `ray job submit` sets.

    section: of the settings, for what an error says
    """
    address = config.address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        with _own_termination():
            _knock(address)
            local = _machine(workers, config) if address == "local" else {}
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True, **local)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if address == "local":
            without = "; search.workers=0 scores in this process" if section == "search" else ""
            raise ConfigError(
                f"{section} with {workers} workers needs Ray on this machine, which did not start ({reason}): ask for "
                f"fewer, or free memory{without}"
            ) from error
        raise ConfigError(
            f"{section}.ray.address={address!r} needs a running Ray cluster and none answers there ({reason}): start "
            "one with `ray start --head`, or leave the setting and RAY_ADDRESS out to use this machine"
        ) from error


def options(config: RayConfig) -> dict[str, Any]:
    """What one worker asks of the cluster, as Ray's options of an actor."""
    asked: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "max_restarts": 0}
    asked |= {"resources": dict(config.resources)} if config.resources else {}
    return asked | ({"runtime_env": {"env_vars": dict(config.env_vars)}} if config.env_vars else {})


def threads(config: RayConfig) -> int:
    """Threads of a worker: its whole cores."""
    return max(1, int(config.num_cpus))


def wanted(config: RayConfig) -> str:
    """The same for people."""
    parts = {"CPU": config.num_cpus, "GPU": config.num_gpus, **config.resources}
    return ", ".join(f"{name} {amount:g}" for name, amount in parts.items() if amount) or "nothing"


def offered(ray: Any) -> str:
    """What the cluster has, for people; only what a worker can ask for."""
    kinds = {
        name: amount for name, amount in ray.cluster_resources().items() if ":" not in name and "memory" not in name
    }
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(kinds.items())) or "nothing"


def deaths(ray: Any) -> tuple[type[Exception], ...]:
    """The errors that mean that the worker is gone, and not that the scorer raised something."""
    kinds = ray.exceptions
    return (kinds.RayActorError, kinds.NodeDiedError, kinds.OutOfMemoryError, kinds.ObjectLostError)


def took_its_node(ray: Any, death: Exception) -> bool:
    """Whether the worker went with its whole machine or the way to it, rather than alone."""
    if isinstance(death, ray.exceptions.RayActorError) and death.preempted:
        return True
    lost = (ray.exceptions.ActorUnavailableError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError)
    return isinstance(death, lost) or "node has died" in str(death)


def reason(death: Exception) -> str:
    """The line of Ray's message that says why."""
    lines = [line.strip() for line in str(death).splitlines() if line.strip()] or [type(death).__name__]
    line = next((line for line in lines if "because" in line), lines[0])
    return line.partition(" Some common causes")[0][:200]


def _machine(workers: int, config: RayConfig) -> dict[str, Any]:
    # a setting that names a cluster's own kinds of resources shall also run on one machine
    own = {name: amount * workers for name, amount in config.resources.items()}
    return {"num_cpus": max(1, math.ceil(workers * config.num_cpus)), "resources": own, "include_dashboard": False}


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
