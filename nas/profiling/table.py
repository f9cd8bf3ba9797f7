"""The table of measurements of one device: rows as logged, and rows brought to one state of the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from nas.arch import Arch
from nas.errors import CheckpointError, MeasurementError
from nas.profiling.device import Device
from nas.run import Run

Kind = Literal["part", "net"]
Split = Literal["", "fit", "held_out", "repeat"]
FOLDER = "profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. `median_ms` is free of drift within the row; `reference_ms`, the reference net's time in the
    same minutes, compares rows with each other."""

    kind: Kind
    name: str
    """Key of the part, or digest of the arch."""
    split: Split = ""
    """Nets only; `repeat` is a held-out net measured again later."""
    arch: dict[str, Any] | None = None
    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    reference_ms: float
    noise: float
    clock: str
    foreign_load: float | None
    """Cores that others kept busy meanwhile."""
    device: str
    workload: str
    batch: int
    threads: int
    dtype: str
    tokens: int
    seconds: float
    """What the row cost, extraction and reference included."""

    @property
    def key(self) -> tuple[str, str, bool]:
        """What must not be measured twice on one device and workload."""
        return self.kind, self.name, self.split == "repeat"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The row that `asdict` wrote."""
        try:
            return cls(**data)
        except TypeError as error:
            raise CheckpointError(f"not a row of a latency table ({error}): delete the table, profile again") from error

    def network(self) -> Arch:
        """The arch of a net's row."""
        if self.arch is None:
            raise MeasurementError(f"only rows of whole nets have an arch, {self.name} is a part: filter by kind")
        return Arch.from_dict(self.arch)


def load_rows(run: Run, device: Device, load: str) -> list[Row]:
    """The rows of this device and workload; `MeasurementError` if there are none or only those of other devices."""
    rows = read_rows(run, device, load)
    if rows:
        return rows
    others = sorted(path.stem for path in (run.path / FOLDER).glob("*.jsonl"))
    seen = f"the run has tables of {', '.join(others)} or of another task shape" if others else "the run has no table"
    raise MeasurementError(
        f"a latency predictor needs measurements of this device ({device.digest}), threads and batch included; "
        f"{seen}: run `nas profile` with these settings"
    )


def read_rows(run: Run, device: Device, load: str) -> list[Row]:
    """The rows of this device and workload, possibly none."""
    rows = (Row.of(data) for data in run.log(log_name(device)).rows())
    return [row for row in rows if row.workload == load]


def log_name(device: Device) -> str:
    """Name of the device's log in a run folder."""
    return f"{FOLDER}/{device.digest}.jsonl"


def at_one_pace(rows: Sequence[Row]) -> list[Row]:
    """The rows as if the reference net had taken its median time throughout; rows of several tables are refused."""
    tables = {(row.device, row.workload, row.clock) for row in rows}
    if len(tables) > 1:
        raise MeasurementError(
            f"only rows of one device, workload and clock compare, got {len(tables)} kinds: fit one table at a time"
        )
    usual = float(np.median([row.reference_ms for row in rows])) if rows else 1.0
    return [_paced(row, usual / row.reference_ms) for row in rows]


def _paced(row: Row, factor: float) -> Row:
    return replace(
        row,
        median_ms=row.median_ms * factor,
        low_ms=row.low_ms * factor,
        high_ms=row.high_ms * factor,
        reference_ms=row.reference_ms * factor,
    )


def row_data(row: Row) -> dict[str, Any]:
    """Plain data for the log."""
    return asdict(row)
