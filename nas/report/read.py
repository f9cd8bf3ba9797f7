"""A run folder as one value for the report: what is there is read, what is missing is empty, what is broken is named.

Reading is liberal, because reports are made of unfinished, old and copied runs: a row that makes no sense is counted
and left out, and nothing found in a file is trusted to be more than text and numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.arch import Arch, BlockArch
from nas.errors import ArchError, CheckpointError
from nas.run import Run
from nas.searching.objectives import METRICS
from nas.train import weights_digest

Row = Mapping[str, Any]
JSON_BYTES = 64 * 2**20
"""The most that is read of a file that holds one value."""
LOG_BYTES = 256 * 2**20
"""The most that is read of a log: some 200,000 evaluations."""
UNREADABLE = (CheckpointError, OSError, ValueError, RecursionError)
"""What a file may raise that is broken, out of reach, or nested deeper than can be parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluated arch: values by name, all finite."""

    arch: Arch
    values: Mapping[str, float]
    origin: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Front only: latency in milliseconds with its spread, and the metric on all of val."""
    is_front: bool = False
    is_knee: bool = False


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
        seen = (name for point in (*self.front, *self.evaluated) for name in {**point.measured, **point.values})
        return next((name for name in seen if name in METRICS), "")

    @property
    def is_maximised(self) -> bool:
        """Whether more of the metric is better."""
        return METRICS.get(self.metric) == "maximise"


def read(run: Run, search: str | None = None) -> Record:
    """The run's content; of several searches the named one, or the one written last."""
    skipped: list[str] = []
    searches = _searches(run)
    chosen = search or (searches[-1] if searches else "")
    folder = f"search/{chosen}"
    front = _json(run, f"{folder}/front.json", skipped) if chosen else None
    curves = _json(run, f"{folder}/curve.json", skipped) if chosen else None
    return Record(
        name=run.path.name,
        asked=mapping(_json(run, "run.json", skipped)),
        summary=mapping(_json(run, "summary.json", skipped)),
        search=chosen,
        searches=tuple(sorted(searches)),
        evaluated=_points(_evaluations(run, f"{folder}/archive.jsonl", skipped), f"{folder}/archive.jsonl", skipped),
        random=_points(_evaluations(run, f"{folder}/random.jsonl", skipped), f"{folder}/random.jsonl", skipped),
        front=_points(front if isinstance(front, list) else [], f"{folder}/front.json", skipped),
        curves={name: _floats(values) for name, values in mapping(curves).items() if isinstance(values, list)},
        card=mapping(_json(run, "profile/card.json", skipped)),
        operators=numbers(_json(run, "profile/operators.json", skipped)),
        device=_device(run, skipped),
        training=tuple(_log(run, "supernet/log.jsonl", skipped)),
        ranking=mapping(_json(run, "rank/evidence.json", skipped)),
        supernet=_weights(run),
        retrained=_by_digest(run, "retrain/*/result.json", skipped),
        exported=_by_digest(run, "export/*/card.json", skipped),
        skipped=tuple(skipped),
    )


def numbers(values: Any) -> dict[str, float]:
    """The finite numbers of a mapping."""
    found = {str(name): number(value) for name, value in mapping(values).items()}
    return {name: value for name, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond what a float can hold
        return None


def mapping(value: Any) -> dict[str, Any]:
    """A mapping, empty if the value is none."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """The mappings of a list."""
    return [mapping(row) for row in value if isinstance(row, Mapping)] if isinstance(value, list | tuple) else []


def arch_of(row: Mapping[str, Any], known: dict[str, BlockArch] | None = None) -> Arch | None:
    """The arch of a row; None if it has none that can be drawn. See `Arch.from_dict` for `known`."""
    try:
        arch = Arch.from_dict(mapping(row.get("arch")), known)
    except (ArchError, TypeError, ValueError, RecursionError):
        return None
    return arch if arch.stages and all(isinstance(block.operator.name, str) for block in arch.blocks) else None


def _searches(run: Run) -> list[str]:
    """Names, the one written last at the end."""
    logs = [path for path in run.path.glob("search/*/archive.jsonl") if path.is_file()]
    return [path.parent.name for path in sorted(logs, key=lambda path: (path.stat().st_mtime, path))]


def _json(run: Run, name: str, skipped: list[str]) -> Any:
    try:
        return run.read_json(name) if _may_be_read(run, name, JSON_BYTES, skipped) else None
    except UNREADABLE as error:
        skipped.append(f"{name}: {error}")
        return None


def _evaluations(run: Run, name: str, skipped: list[str]) -> list[dict[str, Any]]:
    """The full evaluations of a search's journal, which also says who is at what."""
    found = (row for row in _log(run, name, skipped) if "claim" not in row and "journal" not in row)
    return [row for row in found if row.get("fidelity", 1.0) == 1.0]


def _log(run: Run, name: str, skipped: list[str]) -> list[dict[str, Any]]:
    try:
        is_there = _may_be_read(run, name, LOG_BYTES, skipped)
        return [row for row in run.log(name).rows() if isinstance(row, Mapping)] if is_there else []
    except UNREADABLE as error:
        skipped.append(f"{name}: {error}")
        return []


def _may_be_read(run: Run, name: str, limit: int, skipped: list[str]) -> bool:
    """Whether the file is there, is a plain one, so that opening it cannot wait for ever, and is not too large."""
    path = run.path / name
    if not path.exists():
        return False
    if not path.is_file():
        skipped.append(f"{name}: not a plain file, left out")
        return False
    if (size := path.stat().st_size) > limit:
        skipped.append(f"{name}: {size:,} bytes, left out since at most {limit:,} are read")
        return False
    return True


def _weights(run: Run) -> str:
    try:
        return weights_digest(run)
    except OSError:
        return ""


def _device(run: Run, skipped: list[str]) -> Row:
    return mapping(_json(run, "profile/device.json", skipped))


def _points(found: Sequence[Any], name: str, skipped: list[str]) -> tuple[Point, ...]:
    points = list(_readable(found))
    failed = sum(1 for row in found if mapping(row).get("error"))
    if (odd := len(found) - len(points) - failed) > 0:
        skipped.append(f"{name}: {odd} of {len(found)} rows are not evaluations")
    return tuple(points)


def _readable(found: Sequence[Any]) -> Iterator[Point]:
    known: dict[str, BlockArch] = {}
    for row in map(mapping, found):
        arch = arch_of(row, known)
        if arch is None or row.get("error"):
            continue
        yield Point(
            arch=arch,
            values=numbers(row.get("values")),
            origin=str(row.get("origin", "")),
            measured=numbers(row.get("measured")),
            is_front=row.get("is_front", True) is True,
            is_knee=row.get("is_knee") is True,
        )


def _by_digest(run: Run, pattern: str, skipped: list[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for path in sorted(run.path.glob(pattern)):
        row = mapping(_json(run, str(path.relative_to(run.path)), skipped))
        if row:
            found[str(row.get("digest", path.parent.name))] = row
    return found


def _floats(values: Sequence[Any]) -> list[float]:
    return [value for value in map(number, values) if value is not None]
