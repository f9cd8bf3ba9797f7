"""Stage `profile`: measures a space's parts and some of its whole nets on this device, within a budget of seconds."""

import random

from nas.profiling import plan
from nas.profiling.bench import Bench
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Row, load_rows
from nas.profiling.timer import Timer, time_interleaved
from nas.progress import track
from nas.run import Run
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import Supernet, evaluating

PARTS_UNTIL, NETS_UNTIL = 0.45, 0.9


def profile(net: Supernet, config: ProfileConfig, run: Run, seed: int, *, timer: Timer = time_interleaved) -> list[Row]:
    """All rows of this device and workload, those of earlier calls included; each is on disk once it is measured."""
    with evaluating(net), track("profile", config.seconds) as tracker:
        bench = Bench.set_up(net, config, run, timer, tracker)
        rng = random.Random(f"{seed}/profile")
        parts = plan.plan_parts(net.space, rng)
        nets = plan.plan_nets(net.space, net.shape, fit=config.fit_nets, held_out=config.held_out_nets, rng=rng)
        bench.measure_parts(parts, until=PARTS_UNTIL * config.seconds)
        bench.measure_nets(nets, until=NETS_UNTIL * config.seconds)
        bench.measure_repeats(until=config.seconds)
    return bench.rows


def profiled(run: Run, space: SearchSpace, shape: TaskShape, config: ProfileConfig) -> list[Row]:
    """The rows that `profile` left; `MeasurementError` if this device was not measured with these settings."""
    return load_rows(run, config.fingerprint(), plan.workload(space, shape, config.batch))
