"""How long a program takes: medians over blocks of calls, alone or interleaved with a reference that shows drift."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import nn

from nas.config import config
from nas.errors import MeasurementError
from nas.profiling.clock import Clock, clock_for, quiet
from nas.profiling.program import HostProgram, Program, Tensors

NOTCH = 1.57  # half-width of a median's 95 % interval in quartile distances, "Variations of Box Plots" (1978)
REPEATS = 8


@config
class TimerConfig:
    """A sample is a block of calls that takes `block_ms`; samples are taken until the median is known to `precision`
    (relative half-width of its 95 % interval), or `max_repeats` or `max_ms` are spent.

    Blocks of single calls would time caches that the net before has filled: with blocks of 0.2 ms, small vision nets
    measured beside other neighbours differed by 3.4 % on average, with blocks of 3 ms after an untimed call by 1.0 %
    (40 nets, three orders).
    """

    warmup_ms: Annotated[float, Field(ge=0)] = 3.0
    block_ms: Annotated[float, Field(gt=0)] = 3.0
    min_repeats: Annotated[int, Field(ge=3)] = 7
    max_repeats: Annotated[int, Field(ge=3)] = 40
    max_ms: Annotated[float, Field(gt=0)] = 300.0
    precision: Annotated[float, Field(gt=0)] = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median and quartiles of one call in milliseconds; `noise` is the median's relative uncertainty."""

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    clock: str

    @property
    def spread(self) -> float:
        """Distance of the quartiles over the median."""
        return (self.high_ms - self.low_ms) / self.median_ms if self.median_ms else 0.0

    @property
    def noise(self) -> float:
        """Relative half-width of the median's 95 % interval."""
        return NOTCH * self.spread / math.sqrt(self.repeats)


def time_module(
    module: nn.Module,
    inputs: Tensors,
    settings: TimerConfig | None = None,
    *,
    threads: int = 1,
    clock: Clock | None = None,
) -> Timing:
    """The module's own timing, on a machine that is taken to hold still."""
    settings, clock = settings or TimerConfig(), clock or clock_for(threads, inputs[0].device.type)
    program = HostProgram(lambda: module(*inputs), clock, tuple)
    with quiet(threads):
        sampler = _Sampler(program, settings)
        while not sampler.is_settled(sampler.samples):
            sampler.sample()
    return summarise(sampler.samples, clock.name)


def time_interleaved(
    programs: Sequence[Program], reference: Program, settings: TimerConfig, *, threads: int = 1
) -> tuple[list[Timing], Timing]:
    """Timings of the programs and of the reference, in rounds, so that a machine that slows down slows down all.

    Each sample is divided by the reference's samples on either side and multiplied by the reference's median.
    """
    with quiet(threads):
        anchor = _Sampler(reference, settings)
        samplers = [_Sampler(program, settings) for program in programs]
        taken: list[list[int]] = [[] for _ in samplers]
        anchor.sample()
        while waiting := [i for i, s in enumerate(samplers) if not s.is_settled(_corrected(s, taken[i], anchor))]:
            for i in waiting:
                samplers[i].sample()
                taken[i].append(len(anchor.samples))
            anchor.sample()
    corrected = [_corrected(s, at, anchor) for s, at in zip(samplers, taken, strict=True)]
    return [summarise(samples, reference.clock) for samples in corrected], summarise(anchor.samples, reference.clock)


def noise_floor(program: Program, settings: TimerConfig, *, limit: float, threads: int = 1) -> float:
    """Mean relative deviation of repeated timings of one net from their median; `MeasurementError` above `limit`."""
    timings, _ = time_interleaved([program] * REPEATS, program, settings, threads=threads)
    medians = np.asarray([timing.median_ms for timing in timings])
    middle = float(np.median(medians))
    floor = float(np.abs(medians / middle - 1).mean()) if middle else math.inf
    if floor > limit:
        raise MeasurementError(
            f"repeated timings of one net must agree to {limit:.1%}, they differ by {floor:.1%}: stop other programs, "
            "use profile.threads=1, or raise profile.max_noise"
        )
    return floor


def summarise(samples: Sequence[float], clock: str) -> Timing:
    """Median and quartiles of milliseconds per call."""
    low, median, high = (float(value) for value in np.percentile(samples, (25, 50, 75)))
    return Timing(median_ms=median, low_ms=low, high_ms=high, repeats=len(samples), clock=clock)


class _Sampler:
    """Warms up its program, then takes samples of milliseconds per call."""

    def __init__(self, program: Program, settings: TimerConfig) -> None:
        self._program, self._settings = program, settings
        self._count = self._warm_up()
        self.samples: list[float] = []

    def _warm_up(self) -> int:
        once = max(self._program.elapsed_ms(1), 1e-4)
        count = min(max(1, round(self._settings.warmup_ms / once)), 1000)
        once = max(self._program.elapsed_ms(count) / count, 1e-4)
        return max(1, math.ceil(self._settings.block_ms / once))

    def sample(self) -> None:
        self.samples.append(self._program.elapsed_ms(self._count) / self._count)

    def is_settled(self, samples: Sequence[float]) -> bool:
        taken, settings = len(samples), self._settings
        if taken < settings.min_repeats:
            return False
        spent = sum(self.samples) * self._count
        out_of_time = taken >= settings.max_repeats or spent >= settings.max_ms
        return out_of_time or summarise(samples, "").noise <= settings.precision


def _corrected(sampler: _Sampler, taken: list[int], anchor: _Sampler) -> list[float]:
    beside = [(anchor.samples[at - 1] + anchor.samples[min(at, len(anchor.samples) - 1)]) / 2 for at in taken]
    usual = float(np.median(anchor.samples))
    return [sample * usual / near if near else sample for sample, near in zip(sampler.samples, beside, strict=True)]
