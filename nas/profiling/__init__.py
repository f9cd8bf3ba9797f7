"""Measuring latency: the device, its runtimes, the timer, parts and whole nets, and the table they end up in."""

from nas.profiling.device import Device, fingerprint, foreign_load, moment
from nas.profiling.measure import measure
from nas.profiling.profile import profile, profiled
from nas.profiling.settings import ProfileConfig
from nas.profiling.table import Row
from nas.profiling.timer import TimerConfig, Timing, noise_floor, time_interleaved, time_module
from nas.profiling.workload import Workload

__all__ = [
    "Device",
    "ProfileConfig",
    "Row",
    "TimerConfig",
    "Timing",
    "Workload",
    "fingerprint",
    "foreign_load",
    "measure",
    "moment",
    "noise_floor",
    "profile",
    "profiled",
    "time_interleaved",
    "time_module",
]
