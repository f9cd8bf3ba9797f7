"""The table of measurements of one device: rows as logged, and rows brought to one state of the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from nas.arch import Arch
from nas.errors import CheckpointError, MeasurementError
from nas.profiling.device import Device
from nas.profiling.workload import Phase, Workload
from nas.run import Run

Kind = Literal["part", "net"]
Split = Literal["", "fit", "calibrate", "held_out", "repeat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement. `median_ms` is free of drift within the row; `reference_ms`, the reference net's time in the
    same minutes, compares rows with each other."""

    kind: Kind
    name: str
    """Key of the part, or digest of the arch."""
    split: Split = ""
    """Nets only: `fit` were chosen where the predictor was least sure, `calibrate` drawn like those `held_out`, and
    `repeat` is a held-out net measured again later."""
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
    runtime: str
    version: str
    threads: int
    dtype: str
    space: str
    """Name of the space whose profile measured the row; rows of every space with the workload are used."""
    workload: str
    batch: int
    tokens: int
    image_size: int
    phase: Phase
    cache: int
    peak_memory_bytes: int | None = None
    energy_mj: float | None = None
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


def load_rows(tables: Run, device: Device, load: Workload) -> list[Row]:
    """The rows of this device and workload; `MeasurementError` if there are none, with those that there are."""
    rows = read_rows(tables, device, load)
    if rows:
        return rows
    others = sorted(path.stem for path in tables.path.glob("*.jsonl") if path.stem != device.digest)
    same = {Row.of(data).workload for data in tables.log(log_name(device)).rows()}
    seen = f"tables of other devices or settings: {', '.join(others)}" if others else "no other table"
    seen = f"rows of this device for {len(same)} other workloads (shape, batch, phase)" if same else seen
    raise MeasurementError(
        f"a latency predictor needs measurements of this device ({device.digest}: {device.runtime}, {device.threads} "
        f"threads, {device.dtype}) and workload ({load.digest}: batch {load.batch}, {load.phase}); {tables.path} has "
        f"{seen}: run `nas profile` with these settings"
    )


def device_rows(tables: Run, device: Device) -> list[Row]:
    """All rows of this device, of whatever workload."""
    return [Row.of(data) for data in tables.log(log_name(device)).rows()]


def read_rows(tables: Run, device: Device, load: Workload) -> list[Row]:
    """The rows of this device and workload, each once, possibly none."""
    rows = device_rows(tables, device)
    kept: dict[tuple[str, str, bool], Row] = {}
    for row in rows:
        if row.workload == load.digest:
            kept.setdefault(row.key, row)
    return list(kept.values())


def log_name(device: Device) -> str:
    """Name of the device's log in the folder of tables."""
    return f"{device.digest}.jsonl"


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
