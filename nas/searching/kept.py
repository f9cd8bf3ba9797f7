"""What was computed before, within a budget of bytes: values made of tensors, the least worth of them dropped first."""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor


class Holding(Protocol):
    """A value that keeps tensors alive."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""


V = TypeVar("V", bound=Holding)


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    storages: dict[int, int]
    worth: float


class Kept(Generic[V]):
    """Values under keys, each with what it is worth to keep.

    Worth counts from that of what was dropped last, so that what nobody asks for any more ages ("Role of Aging,
    Frequency, and Size in Web Cache Replacement Policies", 2001). Memory that several values share counts once. Not for
    several threads at a time.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = self.peak = 0
        """Bytes held now, and at most so far."""
        self._entries: dict[Hashable, _Entry[V]] = {}
        self._queue: list[tuple[float, int, Hashable]] = []
        self._holders: dict[int, int] = {}
        self._floor, self._serial = 0.0, 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, worth: float) -> V | None:
        """The value, now of this worth if that is more than it was; None if it is not kept."""
        if (entry := self._entries.get(key)) is None:
            return None
        entry.worth = max(entry.worth, self._floor + worth)
        return entry.value

    def add(self, key: Hashable, worth: float, value: V) -> None:
        """Keeps a value under a key that has none, unless something of more worth would have to go for it."""
        storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in value.tensors)}
        worth += self._floor
        if sum(storages.values()) > self.budget or not self._make_room(storages, worth):
            return
        self.used += self._new(storages)
        self.peak = max(self.peak, self.used)
        for place in storages:
            self._holders[place] = self._holders.get(place, 0) + 1
        self._entries[key] = _Entry(value, storages, worth)
        self._push(key, worth)

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()
        self._queue.clear()
        self._holders.clear()
        self.used = 0

    def _make_room(self, storages: dict[int, int], worth: float) -> bool:
        while self.used + self._new(storages) > self.budget:
            key, least = self._least()
            self._floor = min(least, worth)
            if worth < least:
                return False
            self._drop(key)
        return True

    def _new(self, storages: dict[int, int]) -> int:
        return sum(size for place, size in storages.items() if place not in self._holders)

    def _least(self) -> tuple[Hashable, float]:
        """The value of the least worth; worth only grows, so an outdated one in the queue is too low and is mended."""
        while (entry := self._entries[self._queue[0][2]]).worth > self._queue[0][0]:
            _, _, key = heapq.heappop(self._queue)
            self._push(key, entry.worth)
        return self._queue[0][2], entry.worth

    def _push(self, key: Hashable, worth: float) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (worth, self._serial, key))

    def _drop(self, key: Hashable) -> None:
        heapq.heappop(self._queue)
        for place, size in self._entries.pop(key).storages.items():
            self._holders[place] -= 1
            if not self._holders[place]:
                del self._holders[place]
                self.used -= size
