"""The work of the profile stage: cut, check, time and log, part by part and net by net."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.journal import Log
from nas.profiling.device import Device, foreign_load, moment
from nas.profiling.parts import Part
from nas.profiling.pieces import Cut, cut_net, cut_part
from nas.profiling.program import Program
from nas.profiling.runtimes import Facts, Runtime
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Kind, Row, Split, log_name, read_rows, row_data
from nas.profiling.timer import Timing, noise_floor, time_interleaved
from nas.profiling.workload import Workload
from nas.progress import Tracker, say
from nas.run import Run
from nas.supernet import Supernet
from nas.supernet.reshape import reshaped

PARTS_AT_ONCE, NETS_AT_ONCE = 8, 4
EXAM: tuple[Split, ...] = ("held_out", "repeat")
PART_HASTE = 3  # a part's time is only a first guess, which nets correct


@dataclass(frozen=True, slots=True)
class _Item:
    kind: Kind
    name: str
    cut: Callable[[], Cut]
    split: Split = ""
    arch: Arch | None = None


@dataclass
class Bench:
    """One sitting: the rows so far, and the time that this sitting has taken."""

    net: Supernet
    config: ProfileConfig
    runtime: Runtime
    device: Device
    load: Workload
    log: Log
    tracker: Tracker
    reference: Program
    rows: list[Row]
    spent: float
    started: float = field(default_factory=time.monotonic)
    refused: set[str] = field(default_factory=set)
    is_exam: bool = False

    @classmethod
    def set_up(cls, net: Supernet, config: ProfileConfig, runtime: Runtime, tables: Run, tracker: Tracker) -> "Bench":
        """Reads the rows of earlier sittings and, unless nothing is left to do, checks that the machine is calm."""
        device, load = config.fingerprint(), config.workload(net.space, net.shape)
        rows = read_rows(tables, device, load)
        tables.write_json(f"{device.digest}.json", device.to_dict())
        placed, arch = reshaped(net, load.shape), load.reference()
        alone = Supernet(net.space.only(arch), load.shape).eval()
        reference = cut_net(alone, arch, load, seed=0).program(runtime)
        spent = sum(row.seconds for row in rows if row.space == net.space.frame.name and row.split not in EXAM)
        log = tables.log(log_name(device))
        bench = cls(placed, config, runtime, device, load, log, tracker, reference, rows, spent)
        if spent < 60 * config.minutes or bench.count("held_out") < config.held_out_nets:
            settings = runtime.timer(config.timer)
            noise_floor(reference, settings, limit=config.max_noise, threads=config.threads)
        return bench

    @property
    def elapsed(self) -> float:
        """Seconds, those of the space's earlier sittings included, but not what held-out nets took there."""
        return self.spent + time.monotonic() - self.started

    def count(self, split: Split) -> int:
        """Nets measured so far for a purpose."""
        return sum(row.split == split for row in self.rows)

    def measure_parts(self, parts: Sequence[Part], *, until: float) -> None:
        """Parts in this order until the time is up."""
        items = [_Item("part", p.key, partial(cut_part, self.net, p, self.load, seed=1)) for p in parts]
        self._measure_all(items, PARTS_AT_ONCE, until)

    def measure_nets(self, nets: Sequence[tuple[Arch, Split]], *, until: float) -> None:
        """Nets in this order until the time is up."""
        items = [
            _Item("net", arch.digest, partial(cut_net, self.net, arch, self.load, seed=1), split, arch)
            for arch, split in nets
        ]
        self._measure_all(items, NETS_AT_ONCE, until)

    def examine(self, held_out: Sequence[Arch], repeats: int, tracker: Tracker) -> None:
        """The held-out nets, then some of them again."""
        self.tracker, self.is_exam = tracker, True
        self.measure_nets([(arch, "held_out") for arch in held_out], until=math.inf)
        self.measure_nets([(arch, "repeat") for arch in held_out[:repeats]], until=math.inf)

    def _measure_all(self, items: Sequence[_Item], at_once: int, until: float) -> None:
        known = {row.key for row in self.rows}
        missing = [item for item in items if (item.kind, item.name, item.split == "repeat") not in known]
        for i in range(0, len(missing), at_once):
            if self.elapsed > until:
                return
            self._measure(missing[i : i + at_once])

    def _measure(self, items: Sequence[_Item]) -> None:
        start, config = time.monotonic(), self.config
        ready = self._ready(items)
        if not ready:
            return
        settings = self.runtime.timer(config.timer)
        if items[0].kind == "part":
            settings = replace(settings, precision=PART_HASTE * settings.precision, max_ms=settings.max_ms / PART_HASTE)
        programs = [program for _, _, program in ready]
        before = moment()  # only now: making ready may keep our own other processes busy
        timings, reference = time_interleaved(programs, self.reference, settings, threads=config.threads)
        load, shared = foreign_load(before), (time.monotonic() - start) / len(ready)
        for (item, cut, program), timing in zip(ready, timings, strict=True):
            row = self._row(item, cut, program, timing, reference, load, shared)
            self.log.append(row_data(row))
            self.rows.append(row)
        if self.is_exam:
            self.tracker.advance(len(ready))
        else:
            self.tracker.set(self.elapsed, f"{len(self.rows)} measured")

    def _ready(self, items: Sequence[_Item]) -> list[tuple[_Item, Cut, Program]]:
        """Items with their cuts and programs; those that the runtime cannot run are left out, which is said once."""
        cuts = [item.cut() for item in items]
        wanted = [cut.checked() for cut in cuts]
        made = self.runtime.prepare_all([(cut.module, cut.inputs) for cut in cuts])
        found = []
        for item, cut, sizes, program in zip(items, cuts, wanted, made, strict=True):
            try:
                if isinstance(program, MeasurementError):
                    raise program
                found.append((item, cut, cut.accepted(program, sizes, self.runtime)))
            except MeasurementError as error:
                self._leave_out(item, error)
        return found

    def _leave_out(self, item: _Item, error: MeasurementError) -> None:
        if self.runtime.name == "eager":
            raise error
        if item.name not in self.refused:
            say(f"profile: left out {item.name}: {error}")
        self.refused.add(item.name)

    def _row(
        self,
        item: _Item,
        cut: Cut,
        program: Program,
        timing: Timing,
        reference: Timing,
        foreign: float | None,
        seconds: float,
    ) -> Row:
        config, load, device = self.config, self.load, self.device
        facts = self.runtime.facts(cut.module, cut.inputs, program) if item.kind == "net" else Facts()
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
            foreign_load=foreign,
            device=device.digest,
            runtime=device.runtime,
            version=device.version,
            threads=config.threads,
            dtype=config.dtype,
            space=self.net.space.frame.name,
            workload=load.digest,
            batch=load.batch,
            tokens=load.tokens,
            image_size=load.image_size,
            phase=load.phase,
            cache=load.cache,
            peak_memory_bytes=facts.peak_memory_bytes,
            energy_mj=facts.energy_mj,
            seconds=seconds,
        )
