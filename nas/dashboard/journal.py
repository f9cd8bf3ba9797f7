"""What a search's journal says so far, read on by a bounded number of bytes at a time and kept in a bounded space."""

import fcntl
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.journal import Row
from nas.untrusted import Tail, UnreadableError, number, opened

CHUNK_BYTES = 2**20
RECENT = 64
"""Evaluations whose time is averaged."""
KEPT = 20
"""Failures whose reason is kept."""
MOST_CLAIMS = 10_000
MOST_TEXT = 300
"""Characters of a reason or name that are shown."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One point whose evaluation failed, and why."""

    digest: str
    reason: str


@dataclass(slots=True)
class Tally:
    """Counts over a journal; `read_on` brings them up to date."""

    run: Path
    search: str
    tail: Tail = field(init=False)
    _starts: int = 0
    evaluated: int = 0
    partial: int = 0
    """Of the evaluations those on a share of the data."""
    failed: int = 0
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=KEPT))
    origins: Counter[str] = field(default_factory=Counter)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    lowest: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    """Least and greatest full value by name."""
    _claims: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.tail = Tail(self.run, f"search/{self.search}/archive.jsonl", most=CHUNK_BYTES)

    def read_on(self, until: float) -> None:
        """Takes rows in until there are no more or the time has come; `UnreadableError` and `OSError` by the file."""
        while time.monotonic() < until:
            self._take_in(self.tail.more())
            if self.tail.is_over:
                return

    def _take_in(self, found: list[Row]) -> None:
        if self.tail.starts != self._starts:
            self._forget()
        for row in found:
            if "claim" in row:
                self._claim(row)
            elif "journal" not in row:
                self._take(row)

    @property
    def mean_s(self) -> float | None:
        """Seconds of a full evaluation, mean of the last ones."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else None

    def at_work(self) -> dict[str, int]:
        """Living process -> points that it has claimed and not evaluated."""
        owners = Counter(self._claims.values())
        return {owner: count for owner, count in owners.items() if _is_alive(self.run, self.search, owner)}

    def _forget(self) -> None:
        self._starts = self.tail.starts
        self.evaluated = self.partial = self.failed = 0
        for kept in (self.failures, self.origins, self.seconds, self.lowest, self.highest, self._claims):
            kept.clear()

    def _claim(self, row: Mapping[str, Any]) -> None:
        digests, owner = row["claim"], row.get("owner")
        if not isinstance(digests, list) or not isinstance(owner, str):
            return
        for digest in digests:
            self._claims[str(digest)[:64]] = owner[:64]
        while len(self._claims) > MOST_CLAIMS:
            self._claims.popitem(last=False)

    def _take(self, row: Mapping[str, Any]) -> None:
        digest = str(row.get("digest", ""))[:64]
        self._claims.pop(digest, None)
        self.evaluated += 1
        if len(self.origins) < KEPT or str(row.get("origin", ""))[:64] in self.origins:
            self.origins[str(row.get("origin", ""))[:64]] += 1
        if reason := row.get("error"):
            self.failed += 1
            self.failures.append(Failure(digest, str(reason)[:MOST_TEXT]))
        elif row.get("fidelity", 1.0) != 1.0:
            self.partial += 1
        else:
            self._value(row)

    def _value(self, row: Mapping[str, Any]) -> None:
        if (seconds := number(row.get("seconds"))) is not None and seconds >= 0:
            self.seconds.append(seconds)
        values = row.get("values")
        for name, found in values.items() if isinstance(values, dict) else ():
            value = number(found)
            if value is None or (name not in self.lowest and len(self.lowest) >= KEPT):
                continue
            self.lowest[name] = min(value, self.lowest.get(name, value))
            self.highest[name] = max(value, self.highest.get(name, value))


def _is_alive(run: Path, search: str, owner: str) -> bool:
    """Whether the process still holds the lock by which others of its search know it, without taking it away."""
    if not owner.isalnum():
        return False
    try:
        with opened(run, f"search/{search}/.archive-{owner}.owner") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, UnreadableError):
        return False
    return False
