from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.errors import CheckpointError, MeasurementError
from nas.predict import fit_predictor
from nas.profiling import ProfileConfig, measure, profile, profiled
from nas.profiling.parts import arch_parts
from nas.profiling.table import Row, at_one_pace, log_name
from nas.run import Run
from nas.space import load_space
from nas.supernet import Subnet, Supernet, extract
from tests.profiling.doubles import FakeTimer, weighed
from tests.spaces import DIGITS, raw, shipped

SMALL = ProfileConfig(seconds=300.0, fit_nets=10, held_out_nets=10, repeat_nets=3)


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(shipped("digits_tiny"), DIGITS)


def test_rows_say_what_was_measured_and_where(net: Supernet, tmp_path: Path) -> None:
    rows = profile(net, SMALL, Run.at(tmp_path), 0, timer=FakeTimer())
    assert net.training
    count = {
        split: sum(row.split == split for row in rows if row.kind == "net") for split in ("fit", "held_out", "repeat")
    }
    assert count == {"fit": 10, "held_out": 10, "repeat": 3}
    digest = SMALL.fingerprint().digest
    assert {(row.device, row.threads, row.batch, row.dtype, row.tokens) for row in rows} == {
        (digest, 1, 1, "float32", 16)
    }
    assert Run.at(tmp_path).read_json(f"profile/{digest}.json")["digest"] == digest
    assert all(row.network().digest == row.name for row in rows if row.kind == "net")


def test_a_space_with_reuse_is_profiled_and_predicted(tmp_path: Path) -> None:
    values = raw("digits_tiny")
    stage = values["stages"][0]
    stage["blocks"] = {0: {"operators": {"softmax": {}}}}
    stage["block"]["operators"] = {"softmax": {}, "reused_kv": {}, "none": {}}
    space = load_space(values)
    rows = profile(Supernet(space, DIGITS), SMALL, Run.at(tmp_path), 0, timer=FakeTimer())
    arch, keys = space.largest("reused_kv"), {row.name for row in rows}
    assert [block.operator.name for block in arch.blocks] == ["softmax", "reused_kv", "reused_kv"]
    assert all(part.key in keys for part in arch_parts(arch))
    predicted = fit_predictor(rows, space, DIGITS).predict([arch, space.largest("softmax")])
    assert 0 < predicted[0] < predicted[1]


def test_nothing_is_measured_twice(net: Supernet, tmp_path: Path) -> None:
    run, first, second, third = Run.at(tmp_path), FakeTimer(), FakeTimer(), FakeTimer()
    rows = profile(net, SMALL, run, 0, timer=first)
    assert len(first.timed) == len(rows)
    again = profile(net, SMALL, run, 0, timer=second)
    assert again == rows and not second.timed
    more = profile(net, replace(SMALL, held_out_nets=14), run, 1, timer=third)
    keys = [row.key for row in more]
    assert len(set(keys)) == len(keys) > len(rows)
    assert profiled(run, net.space, net.shape, SMALL) == more


def test_interrupted_profile_goes_on_where_it_stopped(net: Supernet, tmp_path: Path) -> None:
    class Dies(FakeTimer):
        def __call__(self, subjects, reference, settings, *, threads=1):  # type: ignore[no-untyped-def]
            if len(self.timed) > 40:
                raise KeyboardInterrupt
            return super().__call__(subjects, reference, settings, threads=threads)

    run, rest = Run.at(tmp_path), FakeTimer()
    with pytest.raises(KeyboardInterrupt):
        profile(net, SMALL, run, 0, timer=Dies())
    kept = len(run.log(log_name(SMALL.fingerprint())).rows())
    rows = profile(net, SMALL, run, 0, timer=rest)
    assert kept > 20 and len(rest.timed) == len(rows) - kept


def test_short_budget_still_has_held_out_nets(net: Supernet, tmp_path: Path) -> None:
    config = replace(SMALL, seconds=1e-3, fit_nets=50, held_out_nets=40, min_held_out=20)
    rows = profile(net, config, Run.at(tmp_path), 0, timer=FakeTimer())
    splits = [row.split for row in rows]
    assert 20 <= splits.count("held_out") < 24 and splits.count("fit") >= 20 and splits.count("repeat") >= 1


def test_table_of_another_device_is_refused(net: Supernet, tmp_path: Path) -> None:
    run = Run.at(tmp_path)
    with pytest.raises(MeasurementError, match="the run has no table: run `nas profile`"):
        profiled(run, net.space, net.shape, SMALL)
    profile(net, SMALL, run, 0, timer=FakeTimer())
    with pytest.raises(MeasurementError, match=f"threads and batch included.*tables of {SMALL.fingerprint().digest}"):
        profiled(run, net.space, net.shape, replace(SMALL, threads=2))
    with pytest.raises(MeasurementError, match="another task shape"):
        profiled(run, net.space, net.shape, replace(SMALL, batch=4))


def test_rows_are_brought_to_one_pace(net: Supernet, tmp_path: Path) -> None:
    row = profile(net, SMALL, Run.at(tmp_path), 0, timer=FakeTimer())[0]
    calm = replace(row, median_ms=1.0, low_ms=0.5, high_ms=2.0, reference_ms=10.0)
    slow = replace(calm, median_ms=1.8, low_ms=0.9, high_ms=3.6, reference_ms=18.0)
    paced = at_one_pace([calm, calm, slow])
    assert paced[2] == calm and paced[0] == calm
    with pytest.raises(MeasurementError, match="only rows of one device"):
        at_one_pace([calm, replace(calm, device="other")])


def test_row_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not a row of a latency table"):
        Row.of({"kind": "part"})


def test_front_is_measured_extracted_and_in_eval_mode(net: Supernet) -> None:
    archs = [net.space.smallest(), net.space.largest()]
    subnets, timer = [extract(net, arch) for arch in archs], FakeTimer()
    timings = measure(subnets, SMALL, timer=timer)
    assert [timing.median_ms for timing in timings] == [weighed_of(subnet) for subnet in subnets]
    assert all(subnet.training for subnet in subnets) and not any(s.module.training for s in timer.timed)
    assert measure([], SMALL) == []
    with pytest.raises(MeasurementError, match=r"extracted network.*pass extract\(net, arch\)"):
        measure([Subnet(net, archs[0])], SMALL, timer=timer)


def weighed_of(subnet: Subnet) -> float:
    from nas.profiling.timer import Subject

    return weighed(Subject(subnet, torch.empty(0)))
