"""Evaluated archs from the rows of logs, and the numbers of values that anybody may have written."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.arch import Arch, BlockArch
from nas.errors import ArchError
from nas.report.files import Files, is_row
from nas.untrusted import Tail, mapping, number

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluated arch: values by name, all finite."""

    arch: Arch
    values: Mapping[str, float]
    origin: str = ""
    seconds: float = 0.0
    """What the evaluation took; 0 if not known."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Front only: latency in milliseconds with its spread, and the metric on all of val."""
    is_front: bool = False
    is_knee: bool = False


@dataclass(slots=True)
class Rows:
    """The rows of a log, kept as they are."""

    tail: Tail
    _found: list[Row] = field(default_factory=list)
    _starts: int = 0

    def all(self, files: Files) -> tuple[Row, ...]:
        """All rows up to now."""
        for found in files.rows(self.tail):
            if self.tail.starts != self._starts:
                self._starts = self.tail.starts
                self._found.clear()
            self._found += found
        return tuple(self._found)


@dataclass(slots=True)
class Points:
    """The points of a log: full evaluations that went well."""

    tail: Tail
    rows: int = 0
    """Full evaluations, failed and odd ones included."""
    odd: int = 0
    _found: list[Point] = field(default_factory=list)
    _known: dict[str, BlockArch] = field(default_factory=dict)
    _starts: int = 0

    def read_on(self, files: Files) -> tuple[Point, ...]:
        """All points up to now; only new rows are parsed."""
        for found in files.rows(self.tail):
            if self.tail.starts != self._starts:
                self._starts, self.rows, self.odd = self.tail.starts, 0, 0
                self._found.clear()
            rows = [mapping(row) for row in found if is_row(row)]
            points, odd = points_of(rows, self._known)
            self.rows, self.odd = self.rows + len(rows), self.odd + odd
            self._found += points
        return tuple(self._found)


def points_of(rows: Iterable[Row], known: dict[str, BlockArch]) -> tuple[list[Point], int]:
    """The points of the rows that went well, and how many rows are no evaluations at all; for `known` see `arch_of`."""
    points, odd = [], 0
    for row in rows:
        if row.get("error"):
            continue
        arch = arch_of(row, known)
        if arch is None:
            odd += 1
            continue
        points.append(_point(arch, row))
    return points, odd


def _point(arch: Arch, row: Row) -> Point:
    return Point(
        arch=arch,
        values=numbers(row.get("values")),
        origin=sys.intern(str(row.get("origin", ""))),
        seconds=max(0.0, number(row.get("seconds")) or 0.0),
        measured=numbers(row.get("measured")),
        is_front=row.get("is_front", True) is True,
        is_knee=row.get("is_knee") is True,
    )


def numbers(values: Any) -> dict[str, float]:
    """The finite numbers of a mapping."""
    found = {sys.intern(str(name)): number(value) for name, value in mapping(values).items()}
    return {name: value for name, value in found.items() if value is not None}


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
