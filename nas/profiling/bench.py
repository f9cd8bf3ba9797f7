"""The work of the profile stage: cut, check, time and log, part by part and net by net."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from nas.arch import Arch
from nas.profiling import plan
from nas.profiling.device import Device, foreign_load, moment
from nas.profiling.parts import Part
from nas.profiling.pieces import Cut, cut_net, cut_part
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Kind, Row, Split, log_name, read_rows, row_data
from nas.profiling.timer import Subject, Timer, Timing, noise_floor
from nas.progress import Tracker
from nas.run import Run
from nas.supernet import Supernet
from nas.supernet.layout import sites

PARTS_AT_ONCE, NETS_AT_ONCE = 8, 4


@dataclass(frozen=True, slots=True)
class _Item:
    kind: Kind
    name: str
    cut: Callable[[], Cut]
    split: Split = ""
    arch: Arch | None = None


@dataclass
class Bench:
    """One sitting: the rows so far, and the time that they and this sitting took."""

    net: Supernet
    config: ProfileConfig
    run: Run
    device: Device
    workload: str
    timer: Timer
    tracker: Tracker
    reference: Subject
    rows: list[Row]
    spent: float
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def set_up(cls, net: Supernet, config: ProfileConfig, run: Run, timer: Timer, tracker: Tracker) -> "Bench":
        """Reads the rows of earlier sittings and, unless nothing is left to do, checks that the machine is calm."""
        device = config.fingerprint()
        load = plan.workload(net.space, net.shape, config.batch)
        rows = read_rows(run, device, load)
        run.write_json(f"profile/{device.digest}.json", device.to_dict())
        middle = cut_net(net, plan.middling(net.space, net.shape), batch=config.batch, seed=0)
        reference = middle.subject(config.device, config.torch_dtype)
        spent = sum(row.seconds for row in rows)
        bench = cls(net, config, run, device, load, timer, tracker, reference, rows, spent)
        if spent < config.seconds:
            noise_floor(reference, config.timer, limit=config.max_noise, threads=config.threads, timer=timer)
        return bench

    @property
    def elapsed(self) -> float:
        """Seconds, those of earlier sittings included."""
        return self.spent + time.monotonic() - self.started

    def measure_parts(self, parts: Sequence[Part], *, until: float) -> None:
        """Parts in this order until the time is up."""
        batch = self.config.batch
        items = [_Item("part", p.key, partial(cut_part, self.net, p, batch=batch, seed=1)) for p in parts]
        for group in _groups(self._missing(items), PARTS_AT_ONCE):
            if self.elapsed > until:
                return
            self._measure(group)

    def measure_nets(self, nets: Sequence[plan.PlannedNet], *, until: float) -> None:
        """Nets in this order until the time is up and enough held-out ones are there."""
        items = [self._net(planned.arch, planned.split) for planned in nets]
        for group in _groups(self._missing(items), NETS_AT_ONCE):
            if self.elapsed > until and len(self._held_out()) >= self.config.min_held_out:
                return
            self._measure(group)

    def measure_repeats(self, *, until: float) -> None:
        """Held-out nets again until the time is up, a few in any case."""
        items = [self._net(row.network(), "repeat") for row in self._held_out()[: self.config.repeat_nets]]
        for group in _groups(self._missing(items), NETS_AT_ONCE):
            if self.elapsed > until and any(row.split == "repeat" for row in self.rows):
                return
            self._measure(group)

    def _held_out(self) -> list[Row]:
        return [row for row in self.rows if row.split == "held_out"]

    def _net(self, arch: Arch, split: Split) -> _Item:
        cut = partial(cut_net, self.net, arch, batch=self.config.batch, seed=1)
        return _Item("net", arch.digest, cut, split, arch)

    def _missing(self, items: list[_Item]) -> list[_Item]:
        known = {row.key for row in self.rows}
        return [item for item in items if (item.kind, item.name, item.split == "repeat") not in known]

    def _measure(self, items: Sequence[_Item]) -> None:
        start, before, config = time.monotonic(), moment(), self.config
        subjects = [item.cut().subject(config.device, config.torch_dtype) for item in items]
        timings, reference = self.timer(subjects, self.reference, config.timer, threads=config.threads)
        load, seconds = foreign_load(before), (time.monotonic() - start) / len(items)
        log = self.run.log(log_name(self.device))
        for item, timing in zip(items, timings, strict=True):
            row = self._row(item, timing, reference, load, seconds)
            log.append(row_data(row))
            self.rows.append(row)
        self.tracker.set(self.elapsed, f"{len(self.rows)} measured")

    def _row(self, item: _Item, timing: Timing, reference: Timing, load: float | None, seconds: float) -> Row:
        net, config = self.net, self.config
        return Row(
            kind=item.kind,
            name=item.name,
            split=item.split,
            arch=item.arch.to_dict() if item.arch else None,
            median_ms=timing.median_ms,
            low_ms=timing.low_ms,
            high_ms=timing.high_ms,
            repeats=timing.repeats,
            reference_ms=reference.median_ms,
            noise=timing.noise,
            clock=timing.clock,
            foreign_load=load,
            device=self.device.digest,
            workload=self.workload,
            batch=config.batch,
            threads=config.threads,
            dtype=config.dtype,
            tokens=sites(net.space.frame, net.shape)[0].tokens,
            seconds=seconds,
        )


def _groups(items: list[_Item], size: int) -> list[list[_Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
