import time

import pytest
import torch
from torch import Tensor, nn

from nas.errors import MeasurementError
from nas.profiling import TimerConfig, noise_floor, time_interleaved, time_module
from nas.profiling.clock import THREAD_CPU, WALL, clock_for, quiet
from nas.profiling.program import HostProgram
from nas.profiling.timer import summarise
from tests.profiling.doubles import FakeProgram

QUICK = TimerConfig(max_repeats=15, max_ms=60.0)


def program(module: nn.Module, x: Tensor) -> HostProgram:
    return HostProgram(lambda: module(x), THREAD_CPU, tuple)


class Busy(nn.Module):
    """Spends a known amount of the thread's CPU time."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self.ms = ms

    def forward(self, x: Tensor) -> Tensor:
        until = time.thread_time_ns() + self.ms * 1e6
        while time.thread_time_ns() < until:
            pass
        return x


class Asleep(Busy):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.ms / 1e3)
        return x


class Product(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, size))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


X = torch.ones(1)


def test_busy_loop_takes_at_least_its_cpu_time() -> None:
    timing = time_module(Busy(2.0), (X,), QUICK)
    assert timing.clock == "thread_cpu"
    # the loop ends at the first reading past its time, so the lower bound is sharp whatever else runs
    assert 2.0 <= timing.low_ms <= timing.median_ms <= timing.high_ms


def test_sleep_costs_wall_time_and_no_cpu_time() -> None:
    wall = time_module(Asleep(2.0), (X,), QUICK, threads=2)
    cpu = time_module(Asleep(2.0), (X,), QUICK, threads=1)
    assert wall.clock == "wall" and wall.low_ms >= 2.0
    assert cpu.median_ms < wall.median_ms / 2


def test_time_of_a_product_scales_with_its_work() -> None:
    small, large = (program(Product(size), torch.randn(64, size)) for size in (128, 1024))
    (one, other), _ = time_interleaved([small, large], small, QUICK)
    assert 8 < other.median_ms / one.median_ms < 512  # 64 times the work


def test_drift_common_to_all_cancels() -> None:
    programs = [FakeProgram(ms) for ms in (2.0, 5.0, 1.0)]
    pace = [1.0] * 40 + [1.7] * 40
    at = iter(range(10**6))
    for one in programs:  # one machine under all of them
        one.elapsed_ms = lambda count, one=one: count * one.ms * pace[next(at) % len(pace)]  # type: ignore[method-assign, misc]
    timings, reference = time_interleaved(programs[:2], programs[2], TimerConfig(min_repeats=30, max_repeats=30))
    assert timings[0].median_ms / reference.median_ms == pytest.approx(2.0, rel=1e-6)
    assert timings[1].median_ms / reference.median_ms == pytest.approx(5.0, rel=1e-6)
    assert all(timing.spread < 0.1 for timing in timings) and reference.spread > 0.1


def test_sampling_ends_when_precise_enough_and_else_at_the_limit() -> None:
    steadily, _ = time_interleaved([FakeProgram(1.0)], FakeProgram(1.0), TimerConfig())
    assert steadily[0].repeats == TimerConfig().min_repeats
    settings = TimerConfig(max_repeats=40, max_ms=1e9)
    wild, slow = (FakeProgram(ms, (1.0, 1.9, 1.3, 2.2, 1.1)) for ms in (1.0, 50.0))
    assert time_interleaved([wild], FakeProgram(1.0), settings)[0][0].repeats == 40
    assert time_interleaved([slow], FakeProgram(1.0), TimerConfig(max_ms=600.0))[0][0].repeats < 20


def test_a_call_that_is_not_timed_warms_the_caches() -> None:
    calls: list[int] = []
    HostProgram(lambda: calls.append(1), THREAD_CPU, tuple).elapsed_ms(5)
    assert len(calls) == 6


def test_summary_is_median_and_quartiles() -> None:
    timing = summarise([4.0, 1.0, 2.0, 3.0, 5.0], "wall")
    assert (timing.low_ms, timing.median_ms, timing.high_ms) == (2.0, 3.0, 4.0)
    assert timing.spread == pytest.approx(2 / 3)
    assert timing.noise == pytest.approx(1.57 * (2 / 3) / 5**0.5)


def test_noise_floor_of_a_steady_machine_is_zero() -> None:
    assert noise_floor(FakeProgram(1.0), QUICK, limit=0.01) == 0.0


def test_noisy_machine_is_refused_with_the_remedy() -> None:
    with pytest.raises(MeasurementError, match=r"agree to 0\.1%, they differ by \d+\.\d%.*profile\.max_noise"):
        noise_floor(FakeProgram(1.0, [1.0, 1.9, 1.3, 2.2, 1.1, 1.7, 1.05]), QUICK, limit=0.001)


def test_clock_fits_threads_and_device() -> None:
    assert clock_for(1, "cpu") is THREAD_CPU
    assert clock_for(2, "cpu") is WALL
    assert clock_for(1, "cuda").name == "cuda_events"


def test_settings_hold_only_meanwhile() -> None:
    with pytest.raises(RuntimeError, match="inside"), quiet(2):
        assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 2
        raise RuntimeError("inside")
    assert not torch.is_inference_mode_enabled() and torch.get_num_threads() == 1


@pytest.mark.gpu
def test_product_on_a_gpu_is_timed_by_events() -> None:
    module = Product(256).cuda()
    assert time_module(module, (torch.randn(64, 256, device="cuda"),), QUICK).clock == "cuda_events"
