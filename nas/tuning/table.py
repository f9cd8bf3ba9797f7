"""What trials came to: one row for each combination, over the repetitions that differ in their seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and range over repetitions."""

    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """That of one or more values."""
        return cls(statistics.fmean(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if self.min == self.max else f"{self.mean:.4g} ({self.min:.4g} to {self.max:.4g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTrial:
    """A finished search: its curve of hypervolume in the box that it shares with the others of its problem."""

    group: str
    problem: str
    """What its values depend on: only hypervolumes of the same problem compare."""
    strategy: str
    first: int
    curve: Sequence[float]
    seconds: float

    def mark(self, count: float) -> float:
        """The hypervolume after so many evaluations."""
        return self.curve[min(len(self.curve), max(1, round(count))) - 1]

    @property
    def final(self) -> float:
        """The last hypervolume."""
        return self.curve[-1]

    def reaches(self, value: float) -> int | None:
        """Evaluations until the hypervolume is at least the value; None if it never is."""
        return next((i + 1 for i, volume in enumerate(self.curve) if volume >= value), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainTrial:
    """A retraining: its values on val at the marks of its steps."""

    group: str
    value: float
    steps: int
    of: int
    seconds: float


Row = dict[str, Any]


def search_rows(trials: Sequence[SearchTrial]) -> list[Row]:
    """Rows of searches, best final hypervolume first within each problem."""
    rows = []
    for group, own in _grouped(trials).items():
        rivals = [trial for trial in trials if trial.problem == own[0].problem and trial.strategy == "random"]
        rows.append({"combination": group, "problem": own[0].problem, **_search_row(own, rivals)})
    return sorted(rows, key=lambda row: (row["problem"], -row["end"]["mean"]))


def retrain_rows(trials: Sequence[RetrainTrial], *, best: str) -> list[Row]:
    """Rows of retrainings, best value first; `best` is "max" or "min"."""
    rows = [{"combination": group, **_retrain_row(own)} for group, own in _grouped(trials).items()]
    sign = -1.0 if best == "max" else 1.0
    return sorted(rows, key=lambda row: (-row["steps"]["max"], sign * row["value"]["mean"]))


def search_cells(rows: Sequence[Row]) -> list[list[str]]:
    """Header and cells for people."""
    head = ["search", "trials", "evaluations", "first design", "half", "end", "to random's end", "seconds"]
    cells = [
        [row["combination"], str(row["trials"]), *(_cell(row[key]) for key in ("evaluations", "first", "half", "end"))]
        + [_reached(row["to_random"]), f"{row['seconds']['mean']:.0f}"]
        for row in rows
    ]
    return [head, *cells]


def retrain_cells(rows: Sequence[Row], metric: str) -> list[list[str]]:
    """Header and cells for people."""
    head = ["retraining", "trials", f"{metric} val", "steps", "stopped early", "seconds"]
    cells = [
        [row["combination"], str(row["trials"]), _cell(row["value"]), _cell(row["steps"])]
        + [f"{row['stopped']} of {row['trials']}", f"{row['seconds']['mean']:.0f}"]
        for row in rows
    ]
    return [head, *cells]


def _grouped(trials: Sequence[Any]) -> Mapping[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return groups


def _search_row(own: Sequence[SearchTrial], rivals: Sequence[SearchTrial]) -> Row:
    row: Row = {
        "trials": len(own),
        "evaluations": _spread([len(trial.curve) for trial in own]),
        "first": _spread([trial.mark(trial.first) for trial in own]),
        "half": _spread([trial.mark(len(trial.curve) / 2) for trial in own]),
        "end": _spread([trial.final for trial in own]),
        "seconds": _spread([trial.seconds for trial in own]),
        "to_random": None,
    }
    if rivals:
        goal = statistics.fmean(trial.final for trial in rivals)
        row["to_random"] = [trial.reaches(goal) for trial in own]
    return row


def _retrain_row(own: Sequence[RetrainTrial]) -> Row:
    # a value after fewer steps says little about what the others reached at the end
    furthest = max(trial.steps for trial in own)
    return {
        "trials": len(own),
        "value": _spread([trial.value for trial in own if trial.steps == furthest]),
        "steps": _spread([trial.steps for trial in own]),
        "stopped": sum(trial.steps < trial.of for trial in own),
        "seconds": _spread([trial.seconds for trial in own]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return asdict(Spread.of(values))


def _cell(spread: Mapping[str, float]) -> str:
    return str(Spread(**spread))


def _reached(counts: Sequence[int | None] | None) -> str:
    if counts is None:
        return ""
    known = [count for count in counts if count is not None]
    if len(known) == len(counts):
        return str(Spread.of(known))
    return f"{len(known)} of {len(counts)} reach it"
