"""Where archs are scored: the contract, and the plain executor that scores in this process."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nas.arch import Arch
from nas.errors import NasError
from nas.searching.objectives import Values

Scorer = Callable[[Arch], Values]
"""What an evaluation costs time for; values known beforehand need not be in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What came back for an arch; `error` is the reason if the values are empty."""

    arch: Arch
    values: Values
    seconds: float
    error: str = ""


class Executor(Protocol):
    """Takes archs while it has room, hands back results in the order in which they end."""

    @property
    def room(self) -> int:
        """How many more archs it takes now."""

    @property
    def pending(self) -> int:
        """How many archs it has taken and not handed back."""

    def submit(self, arch: Arch) -> None:
        """Takes an arch."""

    def collect(self) -> list[Scored]:
        """Waits for at least one result and returns all there are; nothing if nothing is pending."""

    def close(self) -> None:
        """Ends what it started."""


class SerialExecutor:
    """One arch at a time in this process: for tests, debugging and `search.workers=0`."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._queue: deque[Arch] = deque(maxlen=1)

    @property
    def room(self) -> int:
        """One, or none."""
        return 1 - len(self._queue)

    @property
    def pending(self) -> int:
        """None, or one."""
        return len(self._queue)

    def submit(self, arch: Arch) -> None:
        """Takes an arch to score at the next `collect`."""
        self._queue.append(arch)

    def collect(self) -> list[Scored]:
        """Scores the arch."""
        return [score(self._scorer, self._queue.popleft())] if self._queue else []

    def close(self) -> None:
        """Nothing to end."""


def score(scorer: Scorer, arch: Arch) -> Scored:
    """The scorer's values and seconds; a failure becomes its reason, errors about the user's input pass through."""
    start = time.perf_counter()
    try:
        values, error = scorer(arch), ""
    except NasError:
        raise
    except Exception as failure:  # the scorer may be anybody's code: its reason goes into the archive
        values, error = {}, f"{type(failure).__name__}: {failure}"
    return Scored(arch=arch, values=values, seconds=time.perf_counter() - start, error=error)
