"""Accurate timings of a few chosen nets: what a front's predicted latencies are replaced by."""

from collections.abc import Sequence
from dataclasses import replace

from nas.arch import Arch
from nas.profiling.pieces import cut_net
from nas.profiling.runtimes import Runtime
from nas.profiling.settings import ProfileConfig
from nas.profiling.timer import TimerConfig, Timing, time_interleaved
from nas.supernet import Supernet, evaluating
from nas.supernet.reshape import reshaped

PATIENCE = 3


def measure(
    net: Supernet, archs: Sequence[Arch], config: ProfileConfig, *, seed: int = 0, runtime: Runtime | None = None
) -> tuple[list[Timing], Timing]:
    """One timing per extracted arch and that of the table's reference net, all interleaved.

    Three times the patience of the profile. `MeasurementError` for a net that is not what the supernet computes.
    """
    engine, load = runtime or config.engine(), config.workload(net.space, net.shape)
    with evaluating(net):
        placed = reshaped(net, load.shape)
        alone = Supernet(net.space.only(load.reference()), load.shape).eval()
        reference = cut_net(alone, load.reference(), load, seed=0).program(engine)
        programs = [cut_net(placed, arch, load, seed=seed).program(engine) for arch in archs]
        return time_interleaved(programs, reference, _patient(config, engine), threads=config.threads)


def _patient(config: ProfileConfig, engine: Runtime) -> TimerConfig:
    usual = engine.timer(config.timer)
    return replace(
        usual,
        max_repeats=PATIENCE * usual.max_repeats,
        max_ms=PATIENCE * usual.max_ms,
        precision=usual.precision / PATIENCE,
    )
