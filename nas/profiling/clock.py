"""Clocks for timing a call, and the settings that hold while one runs."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

Call = Callable[[], object]


class Clock(Protocol):
    """Runs something several times and says how long that took."""

    @property
    def name(self) -> str:
        """Goes into every row, since times of different clocks do not compare."""

    def elapsed_ms(self, call: Call, count: int) -> float:
        """Milliseconds of `count` calls together."""


@dataclass(frozen=True, slots=True)
class HostClock:
    """A clock of the host in nanoseconds."""

    name: str
    read: Callable[[], int]

    def elapsed_ms(self, call: Call, count: int) -> float:
        """Milliseconds between the first call's start and the last one's return."""
        start = self.read()
        for _ in range(count):
            call()
        return (self.read() - start) / 1e6


@dataclass(frozen=True, slots=True)
class CudaClock:
    """Events on a GPU's stream: from the first kernel's start to the last one's end."""

    device: str
    name: str = "cuda_events"

    def elapsed_ms(self, call: Call, count: int) -> float:
        """Milliseconds on the device, queueing excluded."""
        with torch.cuda.device(self.device):
            start, end = (torch.Event(device=self.device, enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            for _ in range(count):
                call()
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end))


THREAD_CPU = HostClock("thread_cpu", time.thread_time_ns)
WALL = HostClock("wall", time.perf_counter_ns)


def clock_for(threads: int, device: str) -> Clock:
    """CPU time of the thread where one thread does all the work, which foreign load barely moves; else wall time."""
    if device.startswith("cuda"):
        return CudaClock(device)
    return THREAD_CPU if threads == 1 else WALL


@contextmanager
def quiet(threads: int) -> Iterator[None]:
    """Inference mode, pinned threads and no garbage collection, as before afterwards."""
    before, collects = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(threads)
    gc.disable()
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)
        if collects:
            gc.enable()
