"""What was trained alone: winners and hand-made references in one list, by latency measured in the same way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.report.read import Record, Row, arch_of, number, rows
from nas.report.stacks import UNKNOWN, leading_family, outline

WINNER, REFERENCE = "winner", "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric over seeds: mean, standard deviation (None of one seed), lowest and highest."""

    mean: float | None
    std: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """Mean and deviation as far as they are known."""
        return "" if self.mean is None else with_spread(self.mean, self.std)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One arch trained alone; latency in milliseconds with half its spread to each side."""

    digest: str
    name: str
    """Names that it has as a reference; empty if none."""
    kind: str
    outline: str
    family: str
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    params: float | None
    inherited: float | None
    val: Score
    test: Score
    seeds: int
    how: str
    """Start, teacher, steps and learning rate."""


def with_spread(mean: float, std: float | None) -> str:
    """Mean and, of several seeds, standard deviation."""
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def trained_alone(record: Record) -> list[Alone]:
    """Every retrained arch, fastest first, those of unknown latency last."""
    front = {point.arch.digest: point.measured for point in record.front}
    found = [_alone(digest, row, front.get(digest)) for digest, row in record.retrained.items()]
    return sorted(found, key=lambda one: (one.latency_ms is None, one.latency_ms or 0.0, one.digest))


def _alone(digest: str, row: Row, measured: Mapping[str, float] | None) -> Alone:
    names = row.get("references")
    known = [str(name) for name in names] if isinstance(names, list) else []
    beside = row if measured is None or "latency_ms" in row else measured
    latency, spread = number(beside.get("latency_ms")), number(beside.get("latency_spread_ms")) or 0.0
    arch, runs = arch_of(row), rows(row.get("runs"))
    return Alone(
        digest=digest,
        name=", ".join(known),
        kind=REFERENCE if known and row.get("is_winner") is not True else WINNER,
        outline="" if arch is None else outline(arch),
        family=UNKNOWN if arch is None else leading_family(arch),
        latency_ms=latency,
        low_ms=None if latency is None else latency - spread / 2,
        high_ms=None if latency is None else latency + spread / 2,
        params=number(row.get("params")),
        inherited=number(row.get("inherited_val")),
        val=_score(row, runs, "val"),
        test=_score(row, runs, "test"),
        seeds=max(1, len(runs)),
        how=_how(row),
    )


def _score(row: Row, runs: Sequence[Row], split: str) -> Score:
    mean = number(row.get(split))
    values = [value for value in (number(run.get(split)) for run in runs) if value is not None]
    values = values or ([] if mean is None else [mean])
    low, high = (min(values), max(values)) if values else (None, None)
    return Score(mean=mean, std=number(row.get(f"{split}_std")), low=low, high=high)


def _how(row: Row) -> str:
    teacher, steps, rate = row.get("teacher"), number(row.get("steps")), number(row.get("lr"))
    said = [
        str(row.get("start") or ""),
        f"taught by {teacher}" if teacher not in (None, "none") else "",
        "" if steps is None else f"{steps:.0f} steps",
        "" if rate is None else f"lr {rate:.3g}",
    ]
    return ", ".join(part for part in said if part)
