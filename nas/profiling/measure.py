"""Accurate timings of a few chosen nets: what a front's predicted latencies are replaced by."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from nas.errors import MeasurementError
from nas.profiling.settings import ProfileConfig
from nas.profiling.timer import Subject, Timer, Timing, time_interleaved
from nas.supernet import Subnet, example_inputs, network_cost

PATIENCE = 3


def measure(
    subnets: Sequence[Subnet], config: ProfileConfig, *, seed: int = 0, timer: Timer = time_interleaved
) -> list[Timing]:
    """One timing per extracted subnet, in eval mode, all interleaved, with three times the repeats of the profile."""
    if not subnets:
        return []
    by_flops = sorted(range(len(subnets)), key=lambda i: _flops(subnets[i]))
    subjects = [_subject(subnet, config, seed) for subnet in subnets]
    usual = config.timer
    settings = replace(
        usual,
        max_repeats=PATIENCE * usual.max_repeats,
        max_ms=PATIENCE * usual.max_ms,
        precision=usual.precision / PATIENCE,
    )
    timings, _ = timer(subjects, subjects[by_flops[len(by_flops) // 2]], settings, threads=config.threads)
    return timings


def _subject(subnet: Subnet, config: ProfileConfig, seed: int) -> Subject:
    if subnet.net.space != subnet.net.space.only(subnet.arch):
        raise MeasurementError(
            f"latency is measured on an extracted network, arch {subnet.arch.digest} still sits in a supernet: "
            "pass extract(net, arch)"
        )
    module = copy.deepcopy(subnet).eval().to(config.device, config.torch_dtype)
    inputs = example_inputs(subnet.net.shape, config.batch, seed).to(config.device)
    return Subject(module, inputs.to(config.torch_dtype) if inputs.is_floating_point() else inputs)


def _flops(subnet: Subnet) -> int:
    return network_cost(subnet.net.space.frame, subnet.net.shape, subnet.arch).flops
