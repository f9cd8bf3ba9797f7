"""A run folder as one value for the report: what is there is read, what is missing is empty, what is broken is named.

Reading is liberal, because reports are made of unfinished, old and copied runs: a row that makes no sense is counted
and left out, and nothing found in a file is trusted to be more than text and numbers.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.ranking.evidence import EVIDENCE
from nas.report.files import JSON_BYTES, LOG_BYTES, Files, changed_last
from nas.report.points import Point, Points, Row, Rows, arch_of, numbers, points_of, rows
from nas.run import Run
from nas.searching.objectives import METRICS
from nas.train.checkpoint import WEIGHTS
from nas.untrusted import mapping, number

__all__ = [
    "JSON_BYTES",
    "LOG_BYTES",
    "Point",
    "Reader",
    "Record",
    "Row",
    "arch_of",
    "mapping",
    "number",
    "numbers",
    "read",
    "rows",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a run folder holds."""

    name: str
    asked: Row
    summary: Row
    search: str
    searches: tuple[str, ...]
    evaluated: tuple[Point, ...]
    random: tuple[Point, ...]
    front: tuple[Point, ...]
    curves: Mapping[str, Sequence[float]]
    card: Row
    operators: Mapping[str, float]
    """Operator -> its best time over that of softmax on the run's device."""
    lengths: Mapping[str, Mapping[str, float]]
    """Size of the input -> operator -> the same, for every size that the device's table has."""
    device: Row
    training: tuple[Row, ...]
    ranking: Row
    """What `nas rank` found."""
    supernet: str
    """Digest of the weights that are there now; empty without any."""
    retrained: Mapping[str, Row]
    exported: Mapping[str, Row]
    skipped: tuple[str, ...]
    """What could not be read, one line each."""

    @property
    def metric(self) -> str:
        """Name of the task's metric; empty if no evaluation says it."""
        points = itertools.chain(self.front, self.evaluated)
        seen = (name for point in points for name in (*point.measured, *point.values))
        return next((name for name in seen if name in METRICS), "")

    @property
    def is_maximised(self) -> bool:
        """Whether more of the metric is better."""
        return METRICS.get(self.metric) == "maximise"


class Reader:
    """Reads a run folder as often as asked; what did not change is not read again, and logs are read on."""

    def __init__(self, run: Run) -> None:
        self._name, self._files = run.path.name, Files(run.path)
        self._points: dict[str, Points] = {}
        self._training: Rows | None = None

    def read(self, search: str | None = None) -> Record:
        """The run's content; of several searches the named one, or the one written last."""
        files = self._files
        files.begin()
        searches = [Path(name).parent.name for name in changed_last(files, files.matching("search/*/archive.jsonl"))]
        chosen = search or (searches[-1] if searches else "")
        folder = f"search/{chosen}"
        self._points = {name: kept for name, kept in self._points.items() if name.startswith(f"{folder}/")}
        front = files.json(f"{folder}/front.json") if chosen else None
        curves = files.json(f"{folder}/curve.json") if chosen else None
        return Record(
            name=self._name,
            asked=mapping(files.json("run.json")),
            summary=mapping(files.json("summary.json")),
            search=chosen,
            searches=tuple(sorted(searches)),
            evaluated=self._evaluated(f"{folder}/archive.jsonl"),
            random=self._evaluated(f"{folder}/random.jsonl"),
            front=self._front(front, f"{folder}/front.json"),
            curves={name: _floats(values) for name, values in mapping(curves).items() if isinstance(values, list)},
            card=mapping(files.json("profile/card.json")),
            operators=numbers(files.json("profile/operators.json")),
            lengths={size: numbers(one) for size, one in mapping(files.json("profile/lengths.json")).items()},
            device=mapping(files.json("profile/device.json")),
            training=self._trained(),
            ranking=mapping(files.json(EVIDENCE)),
            supernet=files.digest(WEIGHTS),
            retrained=self._by_digest("retrain/*/result.json"),
            exported=self._by_digest("export/*/card.json"),
            skipped=tuple(files.skipped),
        )

    def _evaluated(self, name: str) -> tuple[Point, ...]:
        """The full evaluations of a search's journal."""
        points = self._points.setdefault(name, Points(self._files.tail(name)))
        found = points.read_on(self._files)
        self._say_odd(name, points.odd, points.rows)
        return found

    def _front(self, found: Any, name: str) -> tuple[Point, ...]:
        rows = found if isinstance(found, list) else []
        points, odd = points_of(map(mapping, rows), {})
        self._say_odd(name, odd, len(rows))
        return tuple(points)

    def _say_odd(self, name: str, odd: int, among: int) -> None:
        if odd:
            self._files.skipped.append(f"{name}: {odd:,} of {among:,} rows are not evaluations")

    def _trained(self) -> tuple[Row, ...]:
        if self._training is None:
            self._training = Rows(self._files.tail("supernet/log.jsonl"))
        return self._training.all(self._files)

    def _by_digest(self, pattern: str) -> dict[str, Row]:
        named = ((name, mapping(self._files.json(name))) for name in self._files.matching(pattern))
        return {str(row.get("digest", Path(name).parent.name)): row for name, row in named if row}


def read(run: Run, search: str | None = None) -> Record:
    """The run's content; of several searches the named one, or the one written last."""
    return Reader(run).read(search)


def _floats(values: Sequence[Any]) -> list[float]:
    return [value for value in map(number, values) if value is not None]
