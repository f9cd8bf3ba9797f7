import time

import pytest
import torch
from torch import Tensor, nn

from nas.errors import MeasurementError
from nas.profiling import TimerConfig, noise_floor, time_interleaved, time_module
from nas.profiling.clock import THREAD_CPU, WALL, clock_for, quiet
from nas.profiling.timer import Subject, summarise
from tests.profiling.doubles import FakeClock, FakeTimer, steady

QUICK = TimerConfig(max_repeats=15, max_ms=60.0)


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
    timing = time_module(Busy(2.0), X, QUICK)
    assert timing.clock == "thread_cpu"
    # the loop ends at the first reading past its time, so the lower bound is sharp whatever else runs
    assert 2.0 <= timing.low_ms <= timing.median_ms <= timing.high_ms


def test_sleep_costs_wall_time_and_no_cpu_time() -> None:
    wall = time_module(Asleep(2.0), X, QUICK, threads=2)
    cpu = time_module(Asleep(2.0), X, QUICK, threads=1)
    assert wall.clock == "wall" and wall.low_ms >= 2.0
    assert cpu.median_ms < wall.median_ms / 2


def test_time_of_a_product_scales_with_its_work() -> None:
    small, large = (Subject(Product(size), torch.randn(64, size)) for size in (128, 1024))
    (one, other), _ = time_interleaved([small, large], small, QUICK)
    assert 8 < other.median_ms / one.median_ms < 512  # 64 times the work


def test_drift_common_to_all_cancels() -> None:
    subjects = [Subject(Busy(ms), X) for ms in (2.0, 5.0, 1.0)]
    pace = [1.0] * 40 + [1.7] * 40
    timings, reference = time_interleaved(
        subjects[:2], subjects[2], TimerConfig(min_repeats=30, max_repeats=30), clock=FakeClock(pace)
    )
    assert timings[0].median_ms / reference.median_ms == pytest.approx(2.0, rel=1e-6)
    assert timings[1].median_ms / reference.median_ms == pytest.approx(5.0, rel=1e-6)
    assert all(timing.spread < 0.1 for timing in timings) and reference.spread > 0.1


def test_sampling_ends_when_precise_enough_and_else_at_the_limit() -> None:
    steadily, _ = time_interleaved(
        [Subject(Busy(1.0), X)], Subject(Busy(1.0), X), TimerConfig(), clock=FakeClock([1.0])
    )
    assert steadily[0].repeats == TimerConfig().min_repeats
    wild = FakeClock([1.0, 1.9, 1.3, 2.2, 1.1])
    settings = TimerConfig(max_repeats=40, max_ms=1e9)
    assert time_module(Busy(1.0), X, settings, clock=wild).repeats == 40
    assert time_module(Busy(50.0), X, TimerConfig(max_ms=600.0), clock=wild).repeats < 20


def test_summary_is_median_and_quartiles() -> None:
    timing = summarise([4.0, 1.0, 2.0, 3.0, 5.0], "wall")
    assert (timing.low_ms, timing.median_ms, timing.high_ms) == (2.0, 3.0, 4.0)
    assert timing.spread == pytest.approx(2 / 3)
    assert timing.noise == pytest.approx(1.57 * (2 / 3) / 5**0.5)


def test_noise_floor_of_a_steady_machine_is_zero() -> None:
    assert noise_floor(Subject(Product(8), torch.randn(1, 8)), QUICK, limit=0.01, timer=FakeTimer()) == 0.0


def test_noisy_machine_is_refused_with_the_remedy() -> None:
    def noisy(subjects, reference, settings, *, threads=1):  # type: ignore[no-untyped-def]
        return [steady(1.0 + 0.2 * (i % 3)) for i in range(len(subjects))], steady(1.0)

    with pytest.raises(MeasurementError, match=r"agree to 5\.0%, they differ by 1[0-9]\.\d%.*profile\.max_noise"):
        noise_floor(Subject(Busy(1.0), X), QUICK, limit=0.05, timer=noisy)


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
    assert time_module(module, torch.randn(64, 256, device="cuda"), QUICK).clock == "cuda_events"
