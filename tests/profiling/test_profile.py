import concurrent.futures
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from nas.arch import Arch
from nas.errors import CheckpointError, MeasurementError
from nas.journal import Log
from nas.predict import fit_predictor
from nas.profiling import ProfileConfig, measure, profile, profiled
from nas.profiling.parts import arch_parts
from nas.profiling.plan import plan_nets
from nas.profiling.profile import CALIBRATE, POOL
from nas.profiling.table import Row, at_one_pace, log_name, read_rows
from nas.run import Run
from nas.space import load_space
from nas.supernet import Supernet, extract
from tests.profiling.doubles import FakeRuntime, weighed
from tests.spaces import DIGITS, raw, shipped

SMALL = ProfileConfig(minutes=0.03, held_out_nets=10, repeat_nets=3)


def rows_of(net: Supernet, run: Run, config: ProfileConfig = SMALL, seed: int = 0, **more: Any) -> list[Row]:
    return profile(net, config, run, seed, **{"runtime": FakeRuntime(), **more})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.at(tmp_path / "runs/one")


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(shipped("digits_tiny"), DIGITS)


def test_rows_say_what_was_measured_and_where(net: Supernet, run: Run) -> None:
    rows = rows_of(net, run)
    assert net.training
    nets = [row for row in rows if row.kind == "net"]
    count = {split: sum(row.split == split for row in nets) for split in ("calibrate", "held_out", "repeat")}
    assert count["held_out"] == 10 and count["repeat"] >= 3 and count["calibrate"] >= 5
    digest, load = SMALL.fingerprint().digest, SMALL.workload(net.space, net.shape)
    assert {(row.device, row.runtime, row.threads, row.dtype) for row in rows} == {(digest, "eager", 1, "float32")}
    assert {(row.workload, row.batch, row.tokens, row.image_size, row.phase, row.cache) for row in rows} == {
        (load.digest, 1, 0, 8, "prefill", 0)
    }
    assert all(row.peak_memory_bytes and row.peak_memory_bytes > 0 for row in nets)
    assert {row.space for row in rows} == {"digits_tiny"} and all(row.version for row in rows)
    assert SMALL.tables(run).path == run.path.parent / "devices"
    assert SMALL.tables(run).read_json(f"{digest}.json")["digest"] == digest
    assert all(row.network().digest == row.name for row in nets)


def test_a_space_with_reuse_is_profiled_and_predicted(run: Run) -> None:
    values = raw("digits_tiny")
    stage = values["stages"][0]
    stage["blocks"] = {0: {"operators": {"softmax": {}}}}
    stage["block"]["operators"] = {"softmax": {}, "reused_kv": {}, "none": {}}
    space = load_space(values)
    rows = rows_of(Supernet(space, DIGITS), run, replace(SMALL, minutes=0.2))
    arch, keys = space.largest("reused_kv"), {row.name for row in rows}
    assert [block.operator.name for block in arch.blocks] == ["softmax", "reused_kv", "reused_kv"]
    assert all(part.key in keys for part in arch_parts(arch))
    predicted = fit_predictor(rows, space, DIGITS).predict([arch, space.largest("softmax")])
    assert 0 < predicted[0] < predicted[1]


def test_nothing_is_measured_twice_and_runs_share_the_table(net: Supernet, run: Run) -> None:
    first, second = FakeRuntime(), FakeRuntime()
    rows = rows_of(net, run, runtime=first)
    assert len(first.prepared) == len(rows) + 1  # the reference
    beside = Run.at(run.path.parent / "two")
    again = rows_of(net, beside, runtime=second)
    assert again[: len(rows)] == rows and len(second.prepared) == len(again) - len(rows) + 1
    keys = [row.key for row in again]
    assert len(set(keys)) == len(keys)
    assert profiled(run, net.space, net.shape, SMALL) == again


def test_the_choice_of_nets_sees_the_rows_so_far_and_is_followed(net: Supernet, run: Run) -> None:
    seen: list[int] = []

    def last(rows: Sequence[Row], candidates: Sequence[Arch], count: int) -> Sequence[Arch]:
        seen.append(len(rows))
        return candidates[-count:]

    rows = rows_of(net, run, replace(SMALL, minutes=0.3), choose=last)
    assert len(seen) >= 2 and seen == sorted(seen) and seen[0] >= 20
    pool = plan_nets(net.space, net.shape, calibrate=CALIBRATE, held_out=10, pool=POOL, seed=0).pool
    fit = {row.name for row in rows if row.split == "fit"}
    assert {arch.digest for arch in pool[-8:]} <= fit


def test_interrupted_profile_goes_on_where_it_stopped(net: Supernet, run: Run) -> None:
    class Dies(FakeRuntime):
        def prepare(self, module, inputs):  # type: ignore[no-untyped-def]
            if len(self.prepared) > 25:  # fewer than the shortest budget takes
                raise KeyboardInterrupt
            return super().prepare(module, inputs)

    rest = FakeRuntime()
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, run, runtime=Dies())
    kept = len(SMALL.tables(run).log(log_name(SMALL.fingerprint())).rows())
    rows = rows_of(net, run, runtime=rest)
    assert kept > 20 and len(rest.prepared) == len(rows) - kept + 1


def test_short_budget_still_has_nets_to_calibrate_and_held_out_ones(net: Supernet, run: Run) -> None:
    rows = rows_of(net, run, replace(SMALL, minutes=1e-4, held_out_nets=20))
    splits = [row.split for row in rows]
    assert splits.count("held_out") == 20 and splits.count("calibrate") == 16 and splits.count("repeat") == 3


def test_table_of_another_device_is_refused(net: Supernet, run: Run) -> None:
    with pytest.raises(MeasurementError, match="no other table: run `nas profile`"):
        profiled(run, net.space, net.shape, SMALL)
    rows_of(net, run)
    with pytest.raises(MeasurementError, match=f"2 threads.*tables of other devices.*{SMALL.fingerprint().digest}"):
        profiled(run, net.space, net.shape, replace(SMALL, threads=2))
    with pytest.raises(MeasurementError, match="batch 4, prefill.*rows of this device for 1 other workloads"):
        profiled(run, net.space, net.shape, replace(SMALL, batch=4))


def test_a_net_that_the_runtime_cannot_run_is_left_out_once(
    net: Supernet, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    class Picky(FakeRuntime):
        name = "picky"

        def prepare(self, module, inputs):  # type: ignore[no-untyped-def]
            mixers = [m for m in module.modules() if type(m).__module__ == "nas.operators.linear.linear"]
            if mixers:
                raise MeasurementError("no such operation")
            return super().prepare(module, inputs)

    rows = rows_of(net, run, runtime=Picky())
    held = [row for row in rows if row.kind == "net"]
    assert held and not any(b.operator.name == "linear" for row in held for b in row.network().blocks)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("profile: left out")]
    assert said and len(set(said)) == len(said) and all("no such operation" in line for line in said)


def test_rows_are_brought_to_one_pace(net: Supernet, tmp_path: Path) -> None:
    row = rows_of(net, Run.at(tmp_path))[0]
    calm = replace(row, median_ms=1.0, low_ms=0.5, high_ms=2.0, reference_ms=10.0)
    slow = replace(calm, median_ms=1.8, low_ms=0.9, high_ms=3.6, reference_ms=18.0)
    paced = at_one_pace([calm, calm, slow])
    assert paced[2] == calm and paced[0] == calm
    with pytest.raises(MeasurementError, match="only rows of one device"):
        at_one_pace([calm, replace(calm, device="other")])


def test_row_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not a row of a latency table"):
        Row.of({"kind": "part"})


def test_front_is_measured_extracted_beside_the_reference(net: Supernet) -> None:
    archs = [net.space.smallest(), net.space.largest()]
    runtime = FakeRuntime()
    timings, reference = measure(net, archs, SMALL, runtime=runtime)
    assert [timing.median_ms for timing in timings] == pytest.approx([weighed(extract(net, arch)) for arch in archs])
    assert reference.median_ms > 0 and net.training and not any(module.training for module in runtime.prepared)


def test_processes_may_append_to_one_table(net: Supernet, run: Run) -> None:
    rows_of(net, run)
    tables, device = SMALL.tables(run), SMALL.fingerprint()
    log, before = tables.log(log_name(device)), len(tables.log(log_name(device)).rows())
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_append, [str(log.path)] * 2))
    assert len(log.rows()) == before + 100
    assert len(read_rows(tables, device, SMALL.workload(net.space, net.shape))) == before


def _append(path: str) -> None:
    for number in range(50):
        Log(Path(path)).append({**LAST, "name": f"x{number}", "workload": "other"})


LAST = asdict(
    Row(
        kind="part",
        name="",
        median_ms=1.0,
        low_ms=1.0,
        high_ms=1.0,
        repeats=1,
        reference_ms=1.0,
        noise=0.0,
        clock="fake",
        foreign_load=None,
        device="",
        runtime="eager",
        version="",
        threads=1,
        dtype="float32",
        space="",
        workload="",
        batch=1,
        tokens=0,
        image_size=0,
        phase="prefill",
        cache=0,
        seconds=0.0,
    )
)
