"""How one run is doing: read from its small files and the ends of its logs, never from its results as a whole."""

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.dashboard.folders import Folder, last_change
from nas.dashboard.journal import Failure, Tally
from nas.dashboard.places import is_search, latest_search, latest_trials, winners_since
from nas.presence import presence
from nas.untrusted import Tail, UnreadableError, mapping, number, value

MOST_BYTES = 2**20
"""Of a small file, such as `run.json`."""
MOST_TEXT = 120
"""Characters of a name that are shown."""
METRICS = {"accuracy": "more", "bits_per_byte": "less"}
WATCHED_S = 60.0
"""Span over which the pace of a stage is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the list of runs and a run's activity show; None and empty text where nothing is known."""

    key: str
    label: str
    task: str
    space: str
    device: str
    stage: str
    state: str
    """running, done, failed, stopped, killed, or idle if nobody has said."""
    since: float
    """Seconds since the epoch at which the stage began; 0 if nobody has said."""
    done: float
    total: float | None
    unit: str
    per_s: float | None
    left_s: float | None
    search: str
    evaluated: int
    failed: int
    failures: tuple[Failure, ...]
    workers: Mapping[str, int]
    """Living process -> points that it is evaluating."""
    hypervolume: float | None
    metric: str
    best: float | None
    changed: float
    """Seconds since the epoch."""
    skipped: tuple[str, ...]


@dataclass(slots=True)
class Watch:
    """Follows one run; each call of `look` takes a bounded time."""

    folder: Folder
    _tallies: dict[str, Tally] = field(default_factory=dict)
    _values: dict[str, tuple[tuple[int, int], Any, str]] = field(default_factory=dict)
    """Name of a small file -> its time and size, its value, and why it has none."""
    _steps: Tail | None = None
    _step: int = 0
    _seen: deque[tuple[float, str, float]] = field(default_factory=lambda: deque(maxlen=256))

    def look(self, until: float) -> Status:
        """The run as it is now, its logs read on until then at most (monotonic seconds)."""
        skipped: list[str] = []
        asked = mapping(self._small("run.json", skipped))
        summary = mapping(self._small("summary.json", skipped))
        settings = mapping(asked.get("settings"))
        now = presence(self.folder.path)
        stage = now.stage if now else ""
        tally = self._tally(stage, settings, until, skipped)
        since = now.since if now else 0.0
        done, total, unit = self._progress(stage, since, settings, tally, skipped)
        per_s = self._pace(stage, done, tally, settings) if now and now.is_alive else None
        metric = next((name for name in METRICS if tally and name in tally.lowest), "")
        return Status(
            key=self.folder.key,
            label=self.folder.label,
            task=_text(settings, "data", "name"),
            space=_text(settings, "space", "name"),
            device=self._device(skipped),
            stage=stage[:MOST_TEXT],
            state=now.state[:MOST_TEXT] if now else "idle",
            since=since,
            done=done,
            total=total,
            unit=unit,
            per_s=per_s,
            left_s=(total - done) / per_s if per_s and total is not None and total > done else None,
            search=tally.search if tally else "",
            evaluated=tally.evaluated if tally else 0,
            failed=tally.failed if tally else 0,
            failures=tuple(tally.failures) if tally else (),
            workers=tally.at_work() if tally else {},
            hypervolume=number(summary.get("search.hypervolume")),
            metric=metric,
            best=_best(tally, metric),
            changed=last_change(self.folder.path),
            skipped=tuple(skipped),
        )

    def _small(self, name: str, skipped: list[str]) -> Any:
        """The value of a small file, read again only once it has changed."""
        try:
            known = os.stat(self.folder.path / name)
        except OSError:
            return None
        mark = (known.st_mtime_ns, known.st_size)
        if name not in self._values or self._values[name][0] != mark:
            try:
                self._values[name] = mark, value(self.folder.path, name, MOST_BYTES), ""
            except (OSError, UnreadableError) as error:
                self._values[name] = mark, None, f"{name}: {error}"
        _, found, reason = self._values[name]
        skipped += [reason] if reason else []
        return found

    def _tally(self, stage: str, settings: Mapping[str, Any], until: float, skipped: list[str]) -> Tally | None:
        """The journal of the search that is going on, or of the one that was written last."""
        name = _text(settings, "search", "name") if stage == "search" else ""
        name = name if is_search(self.folder.path, name) else latest_search(self.folder.path)
        if not name:
            return None
        tally = self._tallies.setdefault(name, Tally(self.folder.path, name))
        try:
            tally.read_on(until)
        except (OSError, UnreadableError) as error:
            skipped.append(f"{tally.tail.name}: {error}")
        if tally.tail.damaged:
            skipped.append(f"{tally.tail.name}: damaged lines left out: {tally.tail.damaged:,}")
        return tally

    def _progress(
        self, stage: str, since: float, settings: Mapping[str, Any], tally: Tally | None, skipped: list[str]
    ) -> tuple[float, float | None, str]:
        """Done, in all, and of what."""
        if stage == "train":
            return self._trained(skipped), number(mapping(settings.get("train")).get("steps")), "steps"
        if stage == "profile":
            minutes = number(mapping(settings.get("profile")).get("minutes")) or 0.0
            return max(0.0, min(60 * minutes, time.time() - since)), 60 * minutes, "s"
        if stage == "retrain":
            return float(winners_since(self.folder.path, since)), None, "nets"
        if stage in ("rank", "tune"):
            return *self._tried(since, skipped), "trials"
        budget = number(mapping(settings.get("search")).get("budget"))
        return float(tally.evaluated if tally else 0), budget if tally else None, "evaluations"

    def _trained(self, skipped: list[str]) -> float:
        if self._steps is None:
            self._steps = Tail(self.folder.path, "supernet/log.jsonl")
        try:
            rows = self._steps.more()
        except (OSError, UnreadableError) as error:
            skipped.append(f"supernet/log.jsonl: {error}")
            return float(self._step)
        steps = [row["step"] for row in rows if isinstance(row.get("step"), int)]
        self._step = min(steps[-1] + 1, 2**53) if steps else self._step
        return float(self._step)

    def _tried(self, since: float, skipped: list[str]) -> tuple[float, float | None]:
        """Trials that are done, parts of some among them, and how many there are."""
        name = latest_trials(self.folder.path, since)
        found = mapping(self._small(name, skipped)) if name else {}
        return number(found.get("done")) or 0.0, number(found.get("total"))

    def _pace(self, stage: str, done: float, tally: Tally | None, settings: Mapping[str, Any]) -> float | None:
        """Units a second: as watched over the last minute, or else as workers and their last evaluations say."""
        now = time.monotonic()
        self._seen.append((now, stage, done))
        while self._seen[0][1] != stage or now - self._seen[0][0] > WATCHED_S:
            self._seen.popleft()
        first, _, before = self._seen[0]
        if done > before and now - first >= 5.0:
            return (done - before) / (now - first)
        if stage != "search" or tally is None or not tally.mean_s:
            return None
        workers = number(mapping(settings.get("search")).get("workers")) or 1.0
        return max(1.0, workers) / tally.mean_s

    def _device(self, skipped: list[str]) -> str:
        device = mapping(self._small("profile/device.json", skipped))
        parts = (_text(device, "gpu") or _text(device, "cpu"), _text(device, "runtime"))
        return ", ".join(part for part in parts if part)


def _best(tally: Tally | None, metric: str) -> float | None:
    if tally is None or not metric:
        return None
    return (tally.highest if METRICS[metric] == "more" else tally.lowest)[metric]


def _text(found: Mapping[str, Any], *path: str) -> str:
    for name in path[:-1]:
        found = mapping(found.get(name))
    last = found.get(path[-1])
    return last[:MOST_TEXT] if isinstance(last, str) else ""
