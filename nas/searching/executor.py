"""Where points are scored: the contract, and the plain executor that scores in this process."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from nas.errors import ConfigError, NasError
from nas.searching.objectives import Values

Scorer = Callable[..., Values]
"""`scorer(point)`, or `scorer(point, fidelity=share)` where a share of the full evaluation is asked for.

What an evaluation costs time for; values known beforehand need not be in it. A scorer may have a method `order(points)`
that puts those next to each other that are faster one after the other.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A point to score, on the share `fidelity` of what a full evaluation looks at."""

    point: Any
    fidelity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What came back for a task; `error` is the reason if the values are empty."""

    point: Any
    values: Values
    seconds: float
    error: str = ""
    fidelity: float = 1.0


class Executor(Protocol):
    """Takes tasks while it has room, hands back results in the order in which they end."""

    @property
    def capacity(self) -> int:
        """How many slow tasks it holds when it is full, workers that are about to start included; never changes."""

    @property
    def room(self) -> int:
        """How many more tasks it takes now; fast ones may be taken beyond the capacity."""

    @property
    def pending(self) -> int:
        """How many tasks it has taken and not handed back."""

    def submit(self, tasks: Sequence[Task]) -> None:
        """Takes tasks, no more than there is room for."""

    def collect(self, timeout_s: float | None = None) -> list[Scored]:
        """Waits for a result, or for the time, and returns all there are; nothing if nothing is pending.

        It may also return nothing, and early, when there is more room than before.
        """

    def close(self) -> None:
        """Ends what it started."""


class SerialExecutor:
    """One point at a time in this process: for tests, debugging and `search.workers=0`."""

    capacity = 1

    def __init__(self, scorer: Scorer, timeout_s: float | None = None) -> None:
        if timeout_s is not None and threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "a time limit per evaluation needs workers, or the main thread: set workers to 1 or more, or leave "
                "timeout_s out"
            )
        self._scorer, self._timeout_s = scorer, timeout_s
        self._queue: deque[Task] = deque(maxlen=1)

    @property
    def room(self) -> int:
        """One, or none."""
        return 1 - len(self._queue)

    @property
    def pending(self) -> int:
        """None, or one."""
        return len(self._queue)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Takes a task to score at the next `collect`."""
        self._queue.extend(tasks)

    def collect(self, timeout_s: float | None = None) -> list[Scored]:
        """Scores the point, however long that takes."""
        if not self._queue:
            return []
        task = self._queue.popleft()
        with _limited(self._timeout_s):
            return [score(self._scorer, task)]

    def close(self) -> None:
        """Nothing to end."""


class TooLong(Exception):
    """An evaluation that went beyond its time."""


def too_long(timeout_s: float) -> str:
    """The reason that the archive keeps of it."""
    return f"took longer than timeout_s={timeout_s:g}: raise that limit if such evaluations are to count"


def score(scorer: Scorer, task: Task) -> Scored:
    """The scorer's values and seconds; a failure becomes its reason, errors about the user's input pass through."""
    start = time.perf_counter()
    values: Values = {}
    error = ""
    try:
        # only where it is asked for, so that a plain function of a point is a scorer
        asked = {} if task.fidelity == 1.0 else {"fidelity": task.fidelity}
        values, error = _named(scorer(task.point, **asked)), ""
    except NasError:
        raise
    except TooLong as failure:
        error = str(failure)
    except Exception as failure:  # the scorer may be anybody's code: its reason goes into the archive
        error = f"{type(failure).__name__}: {failure}"
    seconds = time.perf_counter() - start
    return Scored(point=task.point, values=values, seconds=seconds, error=error, fidelity=task.fidelity)


def _named(values: Any) -> Values:
    if not hasattr(values, "items"):
        raise TypeError(f"an objective returns values by name, such as {{'accuracy': 0.9}}; got {values!r}")
    return {str(name): float(value) for name, value in values.items()}


@contextmanager
def _limited(timeout_s: float | None) -> Iterator[None]:
    """Raises `TooLong` inside after the time: what an alarm can interrupt, which is any Python code."""
    if timeout_s is None:
        yield
        return

    def ring(*_: object) -> None:
        raise TooLong(too_long(timeout_s))

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
