"""A value that many ask for and one makes, with rests between: work stays a bounded share of the time."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
LEAST_S = 1.0
REST = 4.0
"""Seconds of rest for each second of work."""
MOST_S = 30.0
"""The longest rest."""


class Rested(Generic[T]):
    """`get` makes the value from the one before, unless that is still fresh; who comes meanwhile waits for it."""

    def __init__(self, make: Callable[[T | None], T], least_s: float = LEAST_S, rest: float = REST) -> None:
        self._make, self._least_s, self._rest = make, least_s, rest
        self._lock = threading.Lock()
        self._due = 0.0
        self.value: T | None = None
        """The last one, however old; None before the first."""

    @property
    def is_due(self) -> bool:
        """Whether the next `get` looks for something new."""
        return self.value is None or time.monotonic() >= self._due

    def get(self) -> T:
        """The value, at most as old as the rests allow."""
        with self._lock:
            if not self.is_due and self.value is not None:
                return self.value
            start = time.monotonic()
            made = self.value = self._make(self.value)
            now = time.monotonic()
            self._due = now + max(self._least_s, min(self._rest * (now - start), MOST_S))
            return made


class Shelf(Generic[K, T]):
    """The rested values that were asked for last; older ones are let go."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[K, Rested[T]] = OrderedDict()

    def get(self, key: K, make: Callable[[], Rested[T]]) -> Rested[T]:
        """The one of this key, or else a new one."""
        with self._lock:
            found = self._kept.pop(key, None) or make()
            self._kept[key] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return found
