"""Stage `profile`: measures a space's parts and some of its whole nets on this device, within a budget of minutes."""

import random
from collections.abc import Callable, Sequence

from nas.arch import Arch
from nas.errors import MeasurementError
from nas.profiling import plan
from nas.profiling.bench import Bench
from nas.profiling.runtimes import Runtime
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Row, Split, load_rows
from nas.progress import SECONDS, track
from nas.run import Run
from nas.shapes import TaskShape
from nas.space import SearchSpace
from nas.supernet import Supernet, evaluating

PARTS_UNTIL = 0.35
CALIBRATE, POOL = 150, 400
AT_LEAST, BATCH = 16, 8

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
    only: Sequence[Arch] = (),
    runtime: Runtime | None = None,
) -> list[Row]:
    """All rows of this device and workload, those of earlier calls and other runs included.

    The minutes go into parts first, then into nets to calibrate and those that `choose` picks, in turn. Held-out nets
    come last and on top, the exam of what the minutes gave. With `only`, those nets are measured instead, whatever the
    minutes. Each row is on disk once it is measured.
    """
    seconds, tables = 60 * config.minutes, config.tables(run)
    with evaluating(net):
        with track("profile", seconds, SECONDS) as tracker:
            bench = Bench.set_up(net, config, runtime or config.engine(), tables, tracker)
            nets = plan.plan_nets(
                net.space, bench.net.shape, calibrate=CALIBRATE, held_out=config.held_out_nets, pool=POOL, seed=seed
            )
            if only:
                bench.measure_nets([(arch, "fit") for arch in only], until=float("inf"))
            else:
                parts = plan.plan_parts(net.space, random.Random(f"{seed}/parts"))
                bench.measure_parts(parts, until=PARTS_UNTIL * seconds)
                _measure_nets(bench, nets, choose, until=seconds)
        with track("held out", len(nets.held_out) + config.repeat_nets, "nets") as tracker:
            bench.examine(nets.held_out, config.repeat_nets, tracker)
    if not bench.rows:
        raise MeasurementError(
            f"runtime {config.runtime!r} could run nothing of space {net.space.frame.name!r}: use another one"
        )
    return bench.rows


def profiled(run: Run, space: SearchSpace, shape: TaskShape, config: ProfileConfig) -> list[Row]:
    """The rows that `profile` left; `MeasurementError` if this device was not measured with these settings."""
    return load_rows(config.tables(run), config.fingerprint(), config.workload(space, shape))


def _measure_nets(bench: Bench, nets: plan.Plan, choose: Choose, *, until: float) -> None:
    drawn: list[tuple[Arch, Split]] = [(arch, "calibrate") for arch in nets.calibrate]
    bench.measure_nets([*((arch, "fit") for arch in nets.corners), *drawn[:AT_LEAST]], until=float("inf"))
    known = {row.name for row in bench.rows}
    rest, pool = drawn[AT_LEAST:], [arch for arch in nets.pool if arch.digest not in known]
    while (rest or pool) and bench.elapsed < until:
        # a choice costs a fit, so batches grow with what it is made from
        size = max(BATCH, bench.count("fit") // 8)
        chosen = list(choose(bench.rows, pool, size)) if pool else []
        pool = [arch for arch in pool if arch not in set(chosen)]
        bench.measure_nets([*((arch, "fit") for arch in chosen), *rest[:size]], until=until)
        rest = rest[size:]
