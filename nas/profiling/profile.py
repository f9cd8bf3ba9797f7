"""Stage `profile`: measures a space's parts and some of its whole nets on this device, within a budget of minutes."""

import itertools
import random
from collections.abc import Callable, Sequence

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.profiling import plan
from nas.profiling.bench import Bench
from nas.profiling.runtimes import Runtime
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Row, Split, load_rows
from nas.progress import track
from nas.run import Run
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import Supernet, evaluating

PARTS_UNTIL, NETS_UNTIL = 0.35, 0.95
CALIBRATE, POOL = 150, 400
BATCH = 8

Choose = Callable[[Sequence[Row], Sequence[Arch], int], Sequence[Arch]]
"""Of the candidates, the so many whose time is least certain after these rows."""


def in_order(_: Sequence[Row], candidates: Sequence[Arch], count: int) -> Sequence[Arch]:
    """The first of the candidates: no choice at all."""
    return candidates[:count]


def profile(
    net: Supernet,
    config: ProfileConfig,
    run: Run,
    seed: int,
    *,
    choose: Choose = in_order,
    runtime: Runtime | None = None,
) -> list[Row]:
    """All rows of this device and workload, those of earlier calls and other runs included.

    Parts come first; then nets to calibrate and held-out ones, and between them those that `choose` picks. Each row is
    on disk once it is measured.
    """
    seconds = 60 * config.minutes
    with evaluating(net), track("profile", seconds) as tracker:
        bench = Bench.set_up(net, config, runtime or config.engine(), config.tables(run), tracker)
        shape = bench.net.shape
        parts = plan.plan_parts(net.space, random.Random(f"{seed}/parts"))
        bench.measure_parts(parts, until=PARTS_UNTIL * seconds)
        nets = plan.plan_nets(
            net.space, shape, calibrate=CALIBRATE, held_out=config.held_out_nets, pool=POOL, seed=seed
        )
        _measure_nets(bench, nets, config, choose)
        again: list[tuple[Arch, Split]] = [(arch, "repeat") for arch in nets.held_out[: config.repeat_nets]]
        bench.measure_nets(again[:4], until=float("inf"))
        bench.measure_nets(again[4:], until=seconds)
    if not bench.rows:
        raise MeasurementError(
            f"runtime {config.runtime!r} could run nothing of space {net.space.frame.name!r}: use another one"
        )
    return bench.rows


def profiled(run: Run, space: SearchSpace, shape: TaskShape, config: ProfileConfig) -> list[Row]:
    """The rows that `profile` left; `MeasurementError` if this device was not measured with these settings."""
    return load_rows(config.tables(run), config.fingerprint(), config.workload(space, shape))


def _measure_nets(bench: Bench, nets: plan.Plan, config: ProfileConfig, choose: Choose) -> None:
    until = NETS_UNTIL * 60 * config.minutes
    drawn = _drawn(nets)
    needed = len(nets.corners) + 2 * -(-config.held_out_nets // 2)
    bench.measure_nets(drawn[:needed], until=float("inf"))
    known = {row.name for row in bench.rows}
    rest, pool = drawn[needed:], [arch for arch in nets.pool if arch.digest not in known]
    while (rest or pool) and bench.elapsed < until:
        # a choice costs a fit, so batches grow with what it is made from
        size = max(BATCH, bench.count("fit") // 8)
        chosen = list(choose(bench.rows, pool, size)) if pool else []
        pool = [arch for arch in pool if arch not in set(chosen)]
        mixed: list[tuple[Arch, Split]] = [(arch, "fit") for arch in chosen]
        bench.measure_nets([*mixed, *rest[:size]], until=until)
        rest = rest[size:]


def _drawn(nets: plan.Plan) -> list[tuple[Arch, Split]]:
    """The corners, then nets to calibrate and held-out ones in turn."""
    first: list[tuple[Arch, Split]] = [(arch, "fit") for arch in nets.corners]
    pairs = itertools.zip_longest(nets.held_out, nets.calibrate)
    for held_out, calibrate in pairs:
        first += [(held_out, "held_out")] if held_out is not None else []
        first += [(calibrate, "calibrate")] if calibrate is not None else []
    return first
